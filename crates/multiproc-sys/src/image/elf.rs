//! ELF images, by `dl_iterate_phdr`. An image is known by its build id, or without one by its file
//! name; the main image is known as such, and its own identity is compared once at a child's start.

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::{ptr, slice};

/// The kind of memory in which an address must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Instructions.
    Code,
    /// Data that is fixed once the image is loaded.
    Constant,
}

/// A place in a loaded image: valid in every process that has loaded the same build of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Empty for the main image.
    pub image: Vec<u8>,
    /// Bytes from where the image is loaded.
    pub offset: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x} of ", self.offset)?;
        if self.image.is_empty() {
            return f.write_str("the program");
        }
        f.write_str("library ")?;
        self.image
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where `address` lies, if it is in a loaded image.
#[must_use]
pub fn locate(address: usize) -> Option<Location> {
    find(|image| {
        image
            .segments()
            .any(|segment| image.covers(segment, address))
            .then(|| Location {
                image: image.identity(),
                offset: (address - image.base) as u64,
            })
    })
}

/// The address of `location` here; `None` where no such image is loaded, or the place in it is not of
/// the asked-for kind.
#[must_use]
pub fn resolve(location: &Location, region: Region) -> Option<usize> {
    let offset = usize::try_from(location.offset).ok()?;
    find(|image| {
        let address = image.base.checked_add(offset)?;
        (image.identity() == location.image && image.has(region, address)).then_some(address)
    })
}

/// What tells the image that `address` lies in from every other build of it.
#[must_use]
pub fn identity_of(address: usize) -> Vec<u8> {
    match locate(address) {
        Some(location) if !location.image.is_empty() => location.image,
        _ => main_identity(),
    }
}

/// What tells the main image from every other build of it: its build id, or else what the file system
/// knows of the file.
#[must_use]
pub fn main_identity() -> Vec<u8> {
    let build_id = find(|image| {
        image
            .build_id()
            .filter(|_| image.is_main())
            .map(<[u8]>::to_vec)
    });
    build_id.unwrap_or_else(|| {
        fs::metadata("/proc/self/exe").map_or_else(
            |_| Vec::new(),
            |file| {
                [
                    file.dev(),
                    file.ino(),
                    file.size(),
                    file.mtime().cast_unsigned(),
                    file.mtime_nsec().cast_unsigned(),
                ]
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect()
            },
        )
    })
}

/// The initialisation functions of the image that has `slot` in its table of them, which come after
/// it.
pub(crate) fn constructors_after(slot: usize) -> Vec<usize> {
    let range = find(|image| {
        let (start, length) = image.constructors()?;
        let end = start.checked_add(length)?;
        (start..end)
            .contains(&slot)
            .then_some((slot + size_of::<usize>(), end))
    });
    let Some((next, end)) = range else {
        return Vec::new();
    };
    (next..end)
        .step_by(size_of::<usize>())
        // SAFETY: inside the table, whose entries the loader has relocated to addresses.
        .map(|entry| unsafe { ptr::with_exposed_provenance::<usize>(entry).read() })
        // 0 and −1 are allowed as fillers.
        .filter(|function| *function != 0 && *function != usize::MAX)
        .collect()
}

type Header = libc::Elf64_Phdr;

/// One loaded image, for the duration of a visit.
struct Image<'a> {
    base: usize,
    name: &'a CStr,
    headers: &'a [Header],
}

const PT_GNU_RELRO: u32 = 0x6474_e552;
const NT_GNU_BUILD_ID: u32 = 3;
const DT_INIT_ARRAY: usize = 25;
const DT_INIT_ARRAYSZ: usize = 27;

/// The first answer that `visit` gives for a loaded image, of which the main one comes first.
fn find<R>(mut visit: impl FnMut(&Image<'_>) -> Option<R>) -> Option<R> {
    match main_image().and_then(&mut visit) {
        None => search(visit),
        found => found,
    }
}

/// The main image, which is loaded for good, so that the loader need not be asked for it twice.
fn main_image() -> Option<&'static Image<'static>> {
    static MAIN: OnceLock<Option<Image<'static>>> = OnceLock::new();
    let found = MAIN.get_or_init(|| {
        search(|image| {
            let headers = image.is_main().then_some(image.headers)?;
            // SAFETY: part of an image that stays where it is for the life of the process, and nobody writes it.
            let headers = unsafe { slice::from_raw_parts(headers.as_ptr(), headers.len()) };
            Some(Image {
                base: image.base,
                name: c"",
                headers,
            })
        })
    });
    found.as_ref()
}

/// The first answer that `visit` gives for an image that the loader tells of.
fn search<R>(visit: impl FnMut(&Image<'_>) -> Option<R>) -> Option<R> {
    struct Search<F, R> {
        visit: F,
        found: Option<R>,
    }
    extern "C" fn each<F: FnMut(&Image<'_>) -> Option<R>, R>(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: this is what `find` has passed, and nobody else uses it meanwhile.
        let search = unsafe { &mut *search.cast::<Search<F, R>>() };
        // SAFETY: the loader passes a live description.
        let info = unsafe { &*info };
        let name = if info.dlpi_name.is_null() {
            c""
        } else {
            // SAFETY: not null, hence a C string of the loader's.
            unsafe { CStr::from_ptr(info.dlpi_name) }
        };
        let headers = if info.dlpi_phdr.is_null() {
            &[]
        } else {
            // SAFETY: the loader's table has that many entries.
            unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
        };
        #[expect(clippy::cast_possible_truncation, reason = "an address")]
        let image = Image {
            base: info.dlpi_addr as usize,
            name,
            headers,
        };
        search.found = (search.visit)(&image);
        c_int::from(search.found.is_some())
    }
    fn callback<F: FnMut(&Image<'_>) -> Option<R>, R>(
        _: &Search<F, R>,
    ) -> unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int {
        each::<F, R>
    }
    let mut search = Search { visit, found: None };
    let callback = callback(&search);
    // SAFETY: `callback` takes what it is passed for the `Search` that it is. A panic in `visit` would
    // abort, not unwind, since the callback is `extern "C"`.
    unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut search).cast()) };
    search.found
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes and addresses of this process"
)]
impl Image<'_> {
    /// The loader gives the main image no name.
    fn is_main(&self) -> bool {
        self.name.is_empty()
    }

    fn identity(&self) -> Vec<u8> {
        if self.is_main() {
            return Vec::new();
        }
        self.build_id().unwrap_or(self.name.to_bytes()).to_vec()
    }

    fn of_type(&self, kind: u32) -> impl Iterator<Item = &Header> {
        self.headers
            .iter()
            .filter(move |header| header.p_type == kind)
    }

    fn segments(&self) -> impl Iterator<Item = &Header> {
        self.of_type(libc::PT_LOAD)
    }

    fn covers(&self, header: &Header, address: usize) -> bool {
        let start = self.base.wrapping_add(header.p_vaddr as usize);
        address
            .checked_sub(start)
            .is_some_and(|offset| offset < header.p_memsz as usize)
    }

    fn has(&self, region: Region, address: usize) -> bool {
        let mut loaded = self
            .segments()
            .filter(|segment| self.covers(segment, address));
        match region {
            Region::Code => loaded.any(|segment| segment.p_flags & libc::PF_X != 0),
            Region::Constant => {
                loaded.any(|segment| segment.p_flags & (libc::PF_W | libc::PF_X) == 0)
                    || self
                        .of_type(PT_GNU_RELRO)
                        .any(|relro| self.covers(relro, address))
            }
        }
    }

    fn build_id(&self) -> Option<&[u8]> {
        self.of_type(libc::PT_NOTE).find_map(|header| {
            let start = self.base.wrapping_add(header.p_vaddr as usize);
            // SAFETY: a note segment is part of a loaded one; the loader vouches for its bounds.
            let notes = unsafe {
                slice::from_raw_parts(
                    ptr::with_exposed_provenance::<u8>(start),
                    header.p_memsz as usize,
                )
            };
            build_id_in(notes)
        })
    }

    /// Address and size of the table of initialisation functions.
    fn constructors(&self) -> Option<(usize, usize)> {
        let dynamic = self.of_type(libc::PT_DYNAMIC).next()?;
        let start = self.base.wrapping_add(dynamic.p_vaddr as usize);
        let count = dynamic.p_memsz as usize / size_of::<[usize; 2]>();
        // SAFETY: the dynamic segment is part of a loaded one, an array of tag and value pairs.
        let entries = unsafe {
            slice::from_raw_parts(ptr::with_exposed_provenance::<[usize; 2]>(start), count)
        };
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry[0] == tag)
                .map(|entry| entry[1])
        };
        Some((
            self.base.wrapping_add(value(DT_INIT_ARRAY)?),
            value(DT_INIT_ARRAYSZ)?,
        ))
    }
}

/// The build id in a note segment: notes of three 4-byte numbers (length of the name, length of the
/// contents, kind), then both, each padded to 4 bytes.
fn build_id_in(mut notes: &[u8]) -> Option<&[u8]> {
    let padded = |length: u32| (length as usize).checked_next_multiple_of(4);
    loop {
        let (header, rest) = notes.split_at_checked(12)?;
        let number = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (name, rest) = rest.split_at_checked(padded(number(0))?)?;
        let contents = rest.get(..number(4) as usize)?;
        if number(8) == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(contents);
        }
        notes = rest.get(padded(number(4))?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONSTANT: &fn() -> Vec<u8> = &(main_identity as fn() -> Vec<u8>);

    #[test]
    fn a_function_is_found_again_as_code_only() {
        let address = main_identity as *const () as usize;
        let location = locate(address).unwrap();
        assert!(location.image.is_empty());
        assert_eq!(resolve(&location, Region::Code), Some(address));
        assert_eq!(resolve(&location, Region::Constant), None);
        assert!(location.to_string().ends_with("of the program"));
    }

    #[test]
    fn a_constant_is_found_again_as_constant_only() {
        let address = ptr::from_ref(CONSTANT).addr();
        let location = locate(address).unwrap();
        assert_eq!(resolve(&location, Region::Constant), Some(address));
        assert_eq!(resolve(&location, Region::Code), None);
    }

    #[test]
    fn a_librarys_function_is_found_by_the_librarys_identity() {
        let address = libc::getpid as *const () as usize;
        let location = locate(address).unwrap();
        assert!(!location.image.is_empty());
        assert_eq!(resolve(&location, Region::Code), Some(address));
        let foreign = Location {
            image: b"no such library".to_vec(),
            ..location
        };
        assert_eq!(resolve(&foreign, Region::Code), None);
    }

    #[test]
    fn what_is_in_no_image_is_nowhere() {
        let heap = Box::new(5_u64);
        assert_eq!(locate(ptr::from_ref(&*heap).addr()), None);
        let beyond = Location {
            image: vec![],
            offset: u64::MAX,
        };
        assert_eq!(resolve(&beyond, Region::Code), None);
        let wild = Location {
            image: vec![],
            offset: 1 << 40,
        };
        assert_eq!(resolve(&wild, Region::Code), None);
    }

    #[test]
    fn the_main_image_has_an_identity() {
        assert!(!main_identity().is_empty());
        assert_eq!(main_identity(), main_identity());
    }

    #[test]
    fn damaged_notes_end_the_search() {
        let note = |lengths: [u32; 3], rest: &[u8]| {
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|n| n.to_ne_bytes()).collect();
            bytes.extend_from_slice(rest);
            bytes
        };
        assert_eq!(
            build_id_in(&note([4, 2, 3], b"GNU\0ab")),
            Some(b"ab".as_slice())
        );
        assert_eq!(build_id_in(&note([4, 200, 3], b"GNU\0ab")), None);
        assert_eq!(
            build_id_in(&note([u32::MAX, u32::MAX, 3], b"GNU\0ab")),
            None
        );
        assert_eq!(build_id_in(&note([4, 2, 1], b"GNU\0ab\0\0")), None);
        assert_eq!(build_id_in(b""), None);
    }
}
