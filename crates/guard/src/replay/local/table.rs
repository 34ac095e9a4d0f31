//! One part of a log: a hash table with open addressing and linear probing, rebuilt when it is crowded or when entries expired.

/// What is kept of an id's name: already a keyed hash, so its bits say where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) [u64; 2]);

impl Name {
    /// Which of `parts` tables it lies in.
    pub(super) fn part(self, parts: usize) -> usize {
        let [_, second] = self.0;
        scaled(second, parts)
    }
}

/// Where a sender is counted, in each of two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells(pub(super) [u16; 2]);

impl Cells {
    /// From a keyed hash of the sender.
    pub(super) fn of(hash: u64, cells: usize) -> Self {
        let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        let cell = |half: [u8; 4]| scaled(u64::from(u32::from_be_bytes(half)) << 32, cells);
        Self([cell([a, b, c, d]), cell([e, f, g, h])].map(|cell| u16::try_from(cell).unwrap_or(u16::MAX)))
    }
}

/// One remembered id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// In seconds since 1970. Zero where there is no entry.
    pub(super) until: u32,
    pub(super) cells: Cells,
}

const NOTHING: Entry = Entry {
    name: Name([0; 2]),
    until: 0,
    cells: Cells([0; 2]),
};

/// Entries by name. At most four fifths of its places are taken, and two thirds right after it was rebuilt.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Entry>,
    taken: usize,
    /// The latest expiry of all entries that were ever forgotten.
    forgotten: u32,
    /// When entries were last forgotten: within one second there is nothing more to forget.
    looked: Option<u32>,
}

impl Table {
    /// When the entry of this name expires, if there is one.
    pub(super) fn find(&self, name: Name) -> Option<u32> {
        let (before, from) = self.places.split_at(scaled(name.0[0], self.places.len()));
        from.iter()
            .chain(before)
            .take_while(|entry| entry.until != 0)
            .find(|entry| entry.name == name)
            .map(|entry| entry.until)
    }

    /// The latest expiry of all entries that were ever forgotten: what expires no later may have been here.
    pub(super) const fn forgotten(&self) -> u32 {
        self.forgotten
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Entry>().saturating_mul(self.places.len())
    }

    /// Whether the next entry makes the table grow.
    pub(super) fn is_crowded(&self) -> bool {
        self.taken.saturating_add(1).saturating_mul(5) > self.places.len().saturating_mul(4)
    }

    /// Puts in an entry whose name is not there.
    pub(super) fn insert(&mut self, entry: Entry) {
        if self.is_crowded() {
            self.rebuild(self.taken.saturating_add(1), |_| true);
        }
        self.place(entry);
    }

    /// Drops all entries that have expired at `now` and gives their memory back.
    pub(super) fn forget(&mut self, now: u32, mut dropped: impl FnMut(Cells)) {
        if self.looked.replace(now) == Some(now) {
            return;
        }
        let expired = |entry: &Entry| entry.until != 0 && entry.until <= now;
        let mut count = 0_usize;
        for entry in self.places.iter().filter(|entry| expired(entry)) {
            self.forgotten = self.forgotten.max(entry.until);
            count = count.saturating_add(1);
            dropped(entry.cells);
        }
        if count > 0 {
            self.rebuild(self.taken.saturating_sub(count), |entry| !expired(entry));
        }
    }

    /// Into a table for `count` entries, with those that are kept.
    fn rebuild(&mut self, count: usize, keep: impl Fn(&Entry) -> bool) {
        let places = match count {
            0 => Vec::new(),
            some => vec![NOTHING; some.saturating_mul(3).div_ceil(2).max(8)],
        };
        let before = std::mem::replace(&mut self.places, places);
        self.taken = 0;
        for entry in before {
            if entry.until != 0 && keep(&entry) {
                self.place(entry);
            }
        }
    }

    fn place(&mut self, entry: Entry) {
        let start = scaled(entry.name.0[0], self.places.len());
        let (before, from) = self.places.split_at_mut(start);
        if let Some(place) = from.iter_mut().chain(before).find(|place| place.until == 0) {
            *place = Entry {
                // Zero would be no entry.
                until: entry.until.max(1),
                ..entry
            };
            self.taken = self.taken.saturating_add(1);
        }
    }
}

/// A hash as a number below `count`, evenly, by its upper bits.
fn scaled(hash: u64, count: usize) -> usize {
    let product = u128::from(hash) * count as u128;
    usize::try_from(product >> 64).unwrap_or_default()
}
