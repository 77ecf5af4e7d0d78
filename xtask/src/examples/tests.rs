//! Each expectation on output that is good and on output that is not.

use super::*;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn examples_and_expectations_are_paired() {
    assert_eq!(pairs(&set(&["a", "b"]), &set(&["a", "b"])), Ok(()));
    assert_eq!(
        pairs(&set(&["a", "b"]), &set(&["a"])),
        Err("b has no expectation".to_owned())
    );
    assert_eq!(
        pairs(&set(&["a"]), &set(&["a", "b"])),
        Err("b has no file in examples/".to_owned())
    );
}

#[test]
fn exact_output_is_exact() {
    assert_eq!(exactly("[1]\n", "[1]\n"), Ok(()));
    assert!(exactly("[1]\n", "[1]").is_err());
    assert!(exactly("[1]\n", "debug\n[1]\n").is_err());
}

#[test]
fn random_numbers_are_four_whole_lines() {
    let line = |process: u32, number: u32| {
        format!("Process number {process}, random number generated : {number}\n")
    };
    let lines = |pairs: &[(u32, u32)]| pairs.iter().map(|&(k, n)| line(k, n)).collect::<String>();
    assert_eq!(
        random_numbers(&lines(&[(2, 1), (0, 100), (1, 7), (3, 7)])),
        Ok(())
    );
    assert_eq!(
        random_numbers(&lines(&[(2, 1), (4, 100), (1, 7), (3, 7)])),
        Ok(())
    );
    assert!(
        random_numbers(&lines(&[(0, 1), (1, 2), (2, 3)])).is_err(),
        "one is missing"
    );
    assert!(
        random_numbers(&lines(&[(0, 1), (1, 2), (2, 3), (4, 4)])).is_err(),
        "neither from 0 nor from 1"
    );
    assert!(
        random_numbers(&lines(&[(0, 1), (1, 2), (2, 3), (2, 4)])).is_err(),
        "one speaks twice"
    );
    assert!(
        random_numbers(&lines(&[(0, 1), (1, 2), (2, 3), (3, 101)])).is_err(),
        "out of range"
    );
    let interleaved = "Process number 0, random Process number 1, random number generated : 4\n";
    assert!(random_numbers(interleaved).is_err());
}

#[test]
fn word_count_has_totals_and_ten_falling_counts() {
    let list: String = (0..10).map(|n| format!("  {} the\n", 50 - n)).collect();
    assert_eq!(
        word_count(&format!("120 files, 4000 words\n{list}one process: 3 ms\n")),
        Ok(())
    );
    assert!(word_count(&list).is_err(), "no totals");
    assert!(
        word_count(&format!("12 words\n{list}60 late\n")).is_err(),
        "eleven"
    );
    let rising: String = (0..10).map(|n| format!("the {n}\n")).collect();
    assert!(
        word_count(&format!("12 words in all\n{rising}")).is_err(),
        "rising"
    );
}
