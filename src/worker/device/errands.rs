//! What a statement that trains asks of a device, on its main thread: see `engine::remote`. It has the session's link as long
//! as the training runs; dropping that is how the worker learns that it is over.

use super::client;
use super::link::{Link, Reply, Trouble};
use super::pupils::key_of;
use super::segment::Verb;
use super::{Wanted, wanted};
use crate::pg::error;
use engine::remote::Errand;

/// A statement's way to the device.
#[derive(Default)]
pub struct Errands {
    link: Option<Link>,
    /// The training that the worker has.
    training: u64,
    /// Whether an epoch has come back.
    begun: bool,
}

impl Errands {
    /// The answer; none where the learner is to do it itself, of which the user is told if it was not to be expected. A
    /// statement that is to end meanwhile ends as the server does that.
    pub fn run(&mut self, training: u64, errand: Errand) -> Option<Vec<u8>> {
        if let Errand::Offer(_) = errand {
            (self.training, self.begun) = (training, false);
            let wanted = wanted()?;
            return self.open(wanted).then(Vec::new);
        }
        // Taken out: should the statement be cancelled, the link is dropped, and the training with it.
        let mut link = self.link.take().filter(|_| self.training == training)?;
        let answer = ask(&mut link, training, errand);
        match answer {
            Ok((Reply::Answered, answer)) => {
                self.begun |= answer.len() == 8;
                self.link = Some(link);
                return Some(answer);
            }
            Ok((Reply::Unknown, _)) => self.tell("the device no longer has the training"),
            Ok((Reply::Failed(text), _)) => {
                // It may be asked again, for another training.
                self.link = Some(link);
                self.tell(&text);
            }
            Err(trouble) => self.trouble(trouble, true),
        }
        self.training = 0;
        None
    }

    fn open(&mut self, wanted: Wanted) -> bool {
        let same = |link: &Link| link.kind() == wanted.kind && link.state().is_ok();
        if self.link.as_ref().is_some_and(same) {
            return true;
        }
        self.link = None;
        match client::lend(wanted) {
            Ok(link) => {
                self.link = Some(link);
                true
            }
            Err(trouble) => {
                self.trouble(trouble, wanted.named);
                false
            }
        }
    }

    /// `named`: the user asked for that very device.
    fn trouble(&self, trouble: Trouble, named: bool) {
        match trouble {
            Trouble::Starting => self.tell("the device is still starting"),
            Trouble::Ended => self.tell("the worker of the device ended"),
            Trouble::Lost(text) => self.tell(&text),
            Trouble::Nothing(text) if named => self.tell(&text),
            Trouble::Nothing(_) => {}
        }
    }

    fn tell(&self, text: &str) {
        let what =
            if self.begun { "goes on, from its last epoch, by the CPU" } else { "is trained by the CPU" };
        error::warn(&format!("the network {what}: {text}"));
    }
}

fn ask(link: &mut Link, training: u64, errand: Errand) -> Result<(Reply, Vec<u8>), Trouble> {
    let key = key_of(training);
    let mut answer = vec![];
    let reply = match errand {
        Errand::Offer(_) => Reply::Answered,
        Errand::Order(piece) => {
            link.ask(Verb::Order, &key, piece.at as u64, &piece.bytes, piece.len, |_| {})?
        }
        Errand::Weights(piece) => {
            link.ask(Verb::Weights, &key, piece.at as u64, &piece.bytes, piece.len, |_| {})?
        }
        Errand::Epoch(epoch) => {
            link.ask(Verb::Epoch, &key, epoch, &[], 8, |bytes| answer.extend_from_slice(bytes))?
        }
        Errand::Fetch(at, len) => {
            link.ask(Verb::Fetch, &key, at as u64, &[], len, |bytes| answer.extend_from_slice(bytes))?
        }
    };
    Ok((reply, answer))
}
