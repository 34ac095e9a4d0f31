//! Carrying out what was planned: once, whoever of many is first.

use std::time::Instant;

use portcullis_core::ids::KeyId;
use portcullis_core::keys::{Birth, KeyView, State, Transition};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};

use super::Error;
use super::authority::{LOOK, OTHERS};
use super::maker::Maker;
use super::shelf::{Cause, Changed, KeyRecord, Lease, Revocation, Shelved};

/// Changes that are tried again because another came first.
const ATTEMPTS: usize = 8;
/// How long the record of a key that was deleted stays, so that everybody sees why it went.
const KEPT_DELETED: Lifetime = Lifetime::from_days(1);

/// Who asks, and how long they wait for another who is at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The rotator: whoever holds the lease does it.
    Whenever,
    /// A start, or an operator: waits for the lease, and goes on without it after that.
    Now,
}

/// From keys to what is to be done with them.
pub(super) type Planner<'a> = dyn Fn(&[KeyView]) -> Result<Vec<Transition>, Error> + 'a;
/// Changes records.
pub(super) type Editor<'a> = dyn Fn(&mut Vec<KeyRecord>) -> Result<(), Error> + 'a;

/// What to do, why, and in whose words.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) cause: Cause,
    pub(super) reason: Option<&'a str>,
    pub(super) urgency: Urgency,
    /// From the keys as they are to what is to be done with them. Asked again when they changed.
    pub(super) plan: &'a Planner<'a>,
    /// A change of records that is no transition: a chain that came in, a key that did.
    pub(super) edit: &'a Editor<'a>,
}

/// Changes nothing.
pub(super) const NO_EDIT: &Editor<'static> = &|_| Ok(());
/// Plans nothing.
pub(super) const NO_PLAN: &Planner<'static> = &|_| Ok(Vec::new());

impl Maker {
    /// Carries out what is wanted, and what the records need besides: certificates for the server's present name,
    /// private keys of deleted keys destroyed. Returns what the shelf holds then, and the transitions that were done.
    pub(super) fn carry_out(
        &self,
        wanted: Wanted<'_>,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<(Shelved, Vec<Transition>), Error> {
        let mut lease: Option<Lease> = None;
        for _ in 0..ATTEMPTS {
            let shelved = self.shelf().read()?;
            let mut probe = shelved.records.clone();
            (wanted.edit)(&mut probe)?;
            let todo = (wanted.plan)(&self.views(&probe)?)?;
            if todo.is_empty() && probe == shelved.records && !self.needs_care(&probe, now) {
                return Ok((shelved, Vec::new()));
            }
            if lease.is_none() {
                lease = self.lease(wanted.urgency)?;
                if lease.is_none() && wanted.urgency == Urgency::Whenever {
                    return Ok((shelved, Vec::new()));
                }
                if self.shelf().generation()? != shelved.generation {
                    continue;
                }
            }
            let (records, made, problem) = self.apply(&wanted, &todo, probe, now, random);
            if records == shelved.records {
                let after = self.destroy(shelved, now)?;
                return problem.map_or(Ok((after, Vec::new())), Err);
            }
            match self.shelf().change(shelved.generation, &records) {
                Ok(Changed::To(generation)) => {
                    let after = self.destroy(Shelved { generation, records }, now)?;
                    return problem.map_or(Ok((after, todo)), Err);
                }
                Ok(Changed::Conflict) => made.iter().for_each(|handle| self.forget_made(handle)),
                // It may have happened: what was made must stay.
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy(self.place()))
    }

    fn lease(&self, urgency: Urgency) -> Result<Option<Lease>, Error> {
        let began = Instant::now();
        loop {
            let lease = self.shelf().lease()?;
            if lease.is_some() || urgency == Urgency::Whenever || began.elapsed() > OTHERS {
                return Ok(lease);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The records after all that could be done of it, the handles of the keys made, and what stopped it.
    fn apply(
        &self,
        wanted: &Wanted<'_>,
        todo: &[Transition],
        mut records: Vec<KeyRecord>,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> (Vec<KeyRecord>, Vec<Vec<u8>>, Option<Error>) {
        let mut made = Vec::new();
        let mut problem = None;
        for transition in todo {
            match self.step(wanted, transition, &mut records, now, random) {
                Ok(new) => made.extend(new),
                // Another purpose's key may still be made.
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        for record in records
            .iter_mut()
            .filter(|record| record.state != State::Deleted && !self.is_current(record))
        {
            if let Err(error) = self.recertify(record, now, random) {
                problem = problem.or(Some(error));
            }
        }
        records.retain(|record| !is_done_with(record, now));
        (records, made, problem)
    }

    /// One transition; the handle of the key that was made for it.
    fn step(
        &self,
        wanted: &Wanted<'_>,
        transition: &Transition,
        records: &mut Vec<KeyRecord>,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut views = self.views(records)?;
        let new = match transition.birth() {
            Some((purpose, birth)) => Some((self.make(purpose, birth, now, random)?, birth)),
            None => None,
        };
        let view = new.as_ref().map(|(record, birth)| view_of(record, *birth, now));
        if let Err(error) = transition.apply(now, &mut views, view) {
            if let Some((record, _)) = &new {
                self.forget_made(&record.handle);
            }
            return Err(Error::Refused(error.to_string()));
        }
        let handle = new.as_ref().map(|(record, _)| record.handle.clone());
        if let Some((record, _)) = new {
            tracing::info!(kid = %record.kid, purpose = record.purpose.name(), state = %record.state, "made a key");
            records.push(KeyRecord {
                cause: wanted.cause,
                ..record
            });
        }
        for view in views {
            let Some(record) = records.iter_mut().find(|record| record.kid == view.kid) else {
                continue;
            };
            if record.state != view.state {
                record.cause = wanted.cause;
                record.deleted = (view.state == State::Deleted).then_some(now);
            }
            record.state = view.state;
            record.enabled = view.enabled;
            record.disabled = view.disabled;
            record.promote_at = view.hastened.then(|| record.promote_at.unwrap_or(now));
        }
        if let Transition::Revoke { kid, .. } = transition
            && let Some(record) = records.iter_mut().find(|record| record.kid == *kid)
        {
            record.revoked = Some(Revocation {
                reason: wanted.reason.unwrap_or("no reason given").to_owned(),
                at: now,
            });
        }
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(handle)
    }

    fn needs_care(&self, records: &[KeyRecord], now: UnixTime) -> bool {
        records.iter().any(|record| match record.state {
            State::Deleted => !record.handle.is_empty() || is_done_with(record, now),
            State::Staged | State::Enabled | State::Disabled => {
                !self.is_current(record) && record.certificate().is_ok_and(|facts| facts.not_after > now)
            }
        })
    }

    /// Destroys the private keys of deleted keys, and takes their handles off the shelf. What cannot be destroyed now
    /// is tried again with the next change.
    fn destroy(&self, mut shelved: Shelved, now: UnixTime) -> Result<Shelved, Error> {
        let mut gone: Vec<KeyId> = Vec::new();
        for record in &mut shelved.records {
            if record.state != State::Deleted || record.handle.is_empty() {
                continue;
            }
            match self
                .backend_of(record)
                .map(|backend| backend.forget(&record.handle))
            {
                Ok(Ok(())) => {
                    record.handle = Vec::new();
                    gone.push(record.kid.clone());
                }
                Ok(Err(error)) => {
                    tracing::warn!(kid = %record.kid, %error, "a deleted key could not be destroyed yet");
                }
                Err(error) => {
                    tracing::warn!(kid = %record.kid, %error, "a deleted key could not be destroyed yet");
                }
            }
        }
        shelved.records.retain(|record| !is_done_with(record, now));
        if gone.is_empty() {
            return Ok(shelved);
        }
        match self.shelf().change(shelved.generation, &shelved.records)? {
            Changed::To(generation) => Ok(Shelved {
                generation,
                ..shelved
            }),
            // Whoever was faster finds the handles, and does the same.
            Changed::Conflict => self.shelf().read(),
        }
    }
}

/// A key that was just made, as the planner is to see it.
fn view_of(record: &KeyRecord, birth: Birth, now: UnixTime) -> KeyView {
    let purpose = record.algorithm.purpose();
    // Its certificate was read when it was made; one that cannot be read ends the key with the next plan.
    let not_after = record.not_after().unwrap_or(now);
    KeyView::made(record.kid.clone(), purpose, birth, now, not_after)
}

/// A record that nobody needs any more. That of a revoked key is needed for good.
fn is_done_with(record: &KeyRecord, now: UnixTime) -> bool {
    record.state == State::Deleted
        && record.revoked.is_none()
        && record.handle.is_empty()
        && record.deleted.is_none_or(|since| now >= since.plus(KEPT_DELETED))
}
