//! The handshake: bytes in, bytes out, and no socket.
//!
//! # Protocol
//!
//! Everything has a fixed length, so that nothing is parsed of a peer that is not known yet.
//!
//! | step | client | server |
//! |---|---|---|
//! | 1 | hello (140 bytes, see `hello`) | hello |
//! | 2 | proof (32): HMAC-SHA256 under the key of label, 1, client's hello, server's hello | |
//! | 3 | | verdict (1) and, if it is [`WELCOME`], proof (32) of label, 2, client's hello, server's hello; else zeroes |
//!
//! # Why it holds
//!
//! - A proof is bound to its connection: both hellos have 32 random bytes, so that one overheard proves nothing later.
//! - A proof is bound to its role: what a server would have to say cannot be got by asking a client, nor the other way
//!   round, and a hello is refused whose role is one's own.
//! - The proofs cover both hellos whole: nobody on the way changes a version, a protocol or a build unseen.
//! - Both sides prove that they have the key; the client is asked first, so that a stranger learns nothing of it.
//! - Proofs are compared in constant time.
//!
//! Somebody on the way who passes on everything is not noticed, and can change what follows the handshake: that
//! takes encryption, which this is not.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, Why};
use crate::hello::{self, Hello, Role};
use crate::settings::Settings;

pub(crate) const PROOF: usize = 32;
const VERDICT: usize = 1 + PROOF;
const LABEL: &[u8] = b"multiproc connection, proof of key\0";

/// Verdicts.
const WELCOME: u8 = 1;
const WRONG_KEY: u8 = 2;
const WRONG_PROTOCOL: u8 = 3;
const OTHER_BUILD: u8 = 4;
const OTHER_USER: u8 = 5;

/// One side of one handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    role: Role,
    settings: Settings,
    ours: Hello,
    stage: Stage,
    /// What has come of the message that is due.
    come: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// The other side's hello is due.
    Hello,
    /// The other side's proof is due, in a verdict if it is the server's.
    Proof(Hello),
}

/// What follows from what has come.
#[derive(Debug)]
pub(crate) enum Step {
    /// More must come.
    More,
    /// This is to be sent, and more must come.
    Answer(Vec<u8>),
    /// This is to be sent, and the other side is known.
    Done { answer: Vec<u8>, same_build: bool },
    /// This is to be sent, and the connection closed.
    Refused { answer: Vec<u8>, error: Error },
}

impl Handshake {
    pub(crate) fn new(role: Role, settings: &Settings) -> std::io::Result<Handshake> {
        Ok(Handshake {
            role,
            settings: settings.clone(),
            ours: Hello::new(role, &settings.protocol)?,
            stage: Stage::Hello,
            come: Vec::with_capacity(hello::LENGTH),
        })
    }

    /// What is to be sent first.
    pub(crate) fn opening(&self) -> &[u8] {
        self.ours.bytes()
    }

    /// How many bytes more the handshake wants now. What comes behind them is not its business.
    pub(crate) fn wants(&self) -> usize {
        let due = match (&self.stage, self.role) {
            (Stage::Hello, _) => hello::LENGTH,
            (Stage::Proof(_), Role::Server) => PROOF,
            (Stage::Proof(_), Role::Client) => VERDICT,
        };
        due - self.come.len()
    }

    /// Takes in bytes, of which there are at most as many as it [`wants`](Self::wants).
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Step {
        self.come.extend_from_slice(bytes);
        if let Stage::Hello = self.stage
            && let Err(error) = Hello::begins(&self.come)
        {
            return Step::Refused {
                answer: Vec::new(),
                error,
            };
        }
        if self.wants() > 0 {
            return Step::More;
        }
        let come = std::mem::take(&mut self.come);
        match (std::mem::replace(&mut self.stage, Stage::Hello), self.role) {
            (Stage::Hello, _) => self.meet(&come),
            (Stage::Proof(theirs), Role::Server) => self.judge(&theirs, &come),
            (Stage::Proof(theirs), Role::Client) => self.heed(&theirs, &come),
        }
    }

    /// Refuses the other side for a reason from outside.
    pub(crate) fn refuse_user(user: u32) -> Step {
        Step::Refused {
            answer: refusal(OTHER_USER),
            error: Why::OtherUser(Some(user)).into(),
        }
    }

    fn meet(&mut self, come: &[u8]) -> Step {
        let other = match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let parsed = come
            .first_chunk()
            .ok_or_else(|| Why::NotThisProtocol.into());
        let theirs = match parsed.and_then(|bytes| Hello::parse(*bytes, other)) {
            Ok(theirs) => theirs,
            Err(error) => {
                return Step::Refused {
                    answer: Vec::new(),
                    error,
                };
            }
        };
        let unfit = if theirs.protocol() != self.ours.protocol() {
            let theirs = theirs.protocol().unwrap_or_default().to_owned();
            let ours = self.settings.protocol.clone();
            Some((WRONG_PROTOCOL, Why::WrongProtocol { ours, theirs }))
        } else if self.settings.same_build && !theirs.is_same_build(&self.ours) {
            Some((OTHER_BUILD, Why::OtherBuild))
        } else {
            None
        };
        match (unfit, self.role) {
            (Some((verdict, why)), Role::Server) => Step::Refused {
                answer: refusal(verdict),
                error: why.into(),
            },
            (Some((_, why)), Role::Client) => Step::Refused {
                answer: Vec::new(),
                error: why.into(),
            },
            (None, Role::Server) => {
                self.stage = Stage::Proof(theirs);
                Step::More
            }
            (None, Role::Client) => {
                let proof = self
                    .proof(Role::Client, &theirs)
                    .finalize()
                    .into_bytes()
                    .to_vec();
                self.stage = Stage::Proof(theirs);
                Step::Answer(proof)
            }
        }
    }

    /// The server, with the client's proof.
    fn judge(&self, theirs: &Hello, proof: &[u8]) -> Step {
        if self
            .proof(Role::Client, theirs)
            .verify_slice(proof)
            .is_err()
        {
            return Step::Refused {
                answer: refusal(WRONG_KEY),
                error: Why::WrongKey.into(),
            };
        }
        let mut answer = vec![WELCOME];
        answer.extend_from_slice(&self.proof(Role::Server, theirs).finalize().into_bytes());
        Step::Done {
            answer,
            same_build: theirs.is_same_build(&self.ours),
        }
    }

    /// The client, with the server's verdict and proof.
    fn heed(&self, theirs: &Hello, verdict: &[u8]) -> Step {
        let refused = |why: Why| Step::Refused {
            answer: Vec::new(),
            error: why.into(),
        };
        match verdict.split_first() {
            Some((&WELCOME, proof)) => {
                if self
                    .proof(Role::Server, theirs)
                    .verify_slice(proof)
                    .is_err()
                {
                    return refused(Why::WrongKey);
                }
                Step::Done {
                    answer: Vec::new(),
                    same_build: theirs.is_same_build(&self.ours),
                }
            }
            Some((&WRONG_KEY, _)) => refused(Why::WrongKey),
            Some((&OTHER_BUILD, _)) => refused(Why::OtherBuild),
            Some((&OTHER_USER, _)) => refused(Why::OtherUser(None)),
            Some((&WRONG_PROTOCOL, _)) => refused(Why::WrongProtocol {
                ours: self.settings.protocol.clone(),
                theirs: theirs.protocol().unwrap_or_default().to_owned(),
            }),
            _ => refused(Why::NotThisProtocol),
        }
    }

    /// What somebody in that role has to prove.
    fn proof(&self, role: Role, theirs: &Hello) -> Hmac<Sha256> {
        let (client, server) = match self.role {
            Role::Client => (&self.ours, theirs),
            Role::Server => (theirs, &self.ours),
        };
        let mut proof = Hmac::<Sha256>::new_from_slice(self.settings.key.secret())
            .expect("a key of any length will do");
        proof.update(LABEL);
        proof.update(&[role as u8]);
        proof.update(client.bytes());
        proof.update(server.bytes());
        proof
    }
}

fn refusal(verdict: u8) -> Vec<u8> {
    let mut answer = vec![0; VERDICT];
    answer[0] = verdict;
    answer
}

#[cfg(test)]
mod tests;
