//! Rows of one producer look alike: what stands between their values is the same text, row after row. A row that
//! looks like an earlier one is taken by comparing that text, without reading keys.
//!
//! In: where the walk over a row found values, and rows. Out: the values of a row that looks like one of those, by
//! column. A row that looks like none, or holds what its column does not take, is left to the walk: what is wrong
//! with a row is never said here.

use super::{
    Seen,
    json::{Passed, Scan},
};
use std::ops::Range;

/// Rows may look so differently that knowing all of them costs more than it gains.
const MAX_STATES: usize = 512;
const MAX_EDGES: usize = 16;
const MAX_TEXT: usize = 64 << 10;
/// So many rows that look like none before are forgiven in a row.
const PATIENCE: u32 = 64;

/// What rows looked like so far, as a tree: after a value stands one of a few texts, then the next value.
#[derive(Debug)]
pub(super) struct Shapes {
    states: Vec<Vec<Edge>>,
    ends: Vec<End>,
    text: usize,
    patience: u32,
    worth: bool,
    trace: Trace,
}

/// Where the walk over one row found values.
#[derive(Debug, Default)]
struct Trace {
    wanted: bool,
    /// The row holds something that is not to be known by its text alone.
    odd: bool,
    spots: Vec<(Range<usize>, Slot)>,
}

#[derive(Debug)]
struct Edge {
    text: Box<[u8]>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Value(Slot, usize),
    End(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    /// Of these columns.
    Leaf(Box<[usize]>),
    /// Of no column, whatever it is.
    Unknown,
    /// Where paths go on into a container, and none is there.
    Scalar,
}

/// What is known at the end of a row.
#[derive(Debug)]
pub(super) struct End {
    pub(super) seen: Box<[Seen]>,
    /// The columns that the row's group leaves to the engine.
    pub(super) absent: Box<[bool]>,
    /// Some column is to be filled.
    pub(super) gaps: bool,
}

impl Default for Shapes {
    fn default() -> Shapes {
        let trace = Trace::default();
        Shapes { states: vec![Vec::new()], ends: Vec::new(), text: 0, patience: PATIENCE, worth: false, trace }
    }
}

impl Shapes {
    /// How many states there are, and how long their texts are together.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.states.len(), self.text)
    }

    /// Knows no row, whatever comes.
    #[cfg(test)]
    pub(super) fn none() -> Shapes {
        Shapes { patience: 0, ..Shapes::default() }
    }

    /// A row begins, the so manieth. Whether it may look like an earlier one.
    #[inline]
    pub(super) fn begin(&mut self, taken: u32) -> bool {
        // A single row is not worth being known.
        self.worth = taken > 1 && self.patience > 0;
        self.worth
    }

    /// Other rows may look alike again.
    pub(super) fn forgive(&mut self) {
        self.patience = PATIENCE;
    }

    /// The next row is not to be known again.
    pub(super) fn untraced(&mut self) {
        self.trace.wanted = false;
    }

    /// A walk begins whose row is to be known again, if there is room.
    pub(super) fn trace(&mut self) {
        let wanted = self.worth && self.states.len() < MAX_STATES && self.text < MAX_TEXT;
        self.trace.wanted = wanted;
        self.trace.odd = false;
        self.trace.spots.clear();
    }

    pub(super) fn passed(&mut self, value: Range<usize>, what: Passed<'_>) {
        let trace = &mut self.trace;
        // What one row may add is bounded too: it may have a million keys.
        trace.odd |= trace.spots.len() >= MAX_STATES;
        if !trace.wanted || trace.odd {
            return;
        }
        let slot = match what {
            Passed::Leaf(columns) => {
                let repeated =
                    |(_, slot): &(_, Slot)| matches!(slot, Slot::Leaf(it) if it.iter().any(|it| columns.contains(it)));
                trace.odd = trace.spots.iter().any(repeated);
                Slot::Leaf(columns.into())
            }
            Passed::Unknown => Slot::Unknown,
            Passed::Scalar => Slot::Scalar,
            Passed::Odd => {
                trace.odd = true;
                return;
            }
        };
        trace.spots.push((value, slot));
    }

    /// Gives each value of a row that looks like an earlier one to `leaf`, with whether it is a string without
    /// escapes. Nothing says that the row looks like none, or that `leaf` did not take a value: what was taken
    /// before is to be forgotten.
    #[inline]
    pub(super) fn take(&mut self, row: &str, mut leaf: impl FnMut(usize, &str, bool) -> bool) -> Option<&End> {
        let mut scan = Scan::new(row);
        let mut state = 0;
        'values: loop {
            let from = scan.at;
            for edge in &self.states[state] {
                let Some((begin, rest)) = scan.rest().split_at_checked(edge.text.len()) else { continue };
                if !same(begin, &edge.text) {
                    continue;
                }
                let (slot, next) = match &edge.next {
                    Next::Value(slot, next) => (slot, *next),
                    Next::End(end) if rest.is_empty() => {
                        self.patience = PATIENCE;
                        return Some(&self.ends[*end]);
                    }
                    Next::End(_) => continue,
                };
                let Some(&first) = rest.first() else { continue };
                if matches!(first, b'{' | b'[') && *slot == Slot::Scalar {
                    continue;
                }
                scan.at = from + edge.text.len();
                let start = scan.at;
                let Ok(plain) = scan.value(first) else { break 'values };
                if let Slot::Leaf(columns) = slot {
                    let raw = scan.since(start);
                    if !columns.iter().all(|column| leaf(*column, raw, plain)) {
                        break 'values;
                    }
                }
                state = next;
                continue 'values;
            }
            break;
        }
        self.patience -= 1;
        None
    }

    /// The row that was walked last was taken: one that looks like it will be known.
    pub(super) fn learn(&mut self, seen: &[Seen], absent: &[bool], row: &[u8]) {
        // A null where the column has none is something else than its key says.
        if !self.trace.wanted || self.trace.odd || seen.contains(&Seen::Null) {
            return;
        }
        let (mut state, mut at) = (0, 0);
        let spots = std::mem::take(&mut self.trace.spots);
        for (value, slot) in &spots {
            let text = &row[at..value.start];
            let known = self.states[state].iter().find_map(|edge| match &edge.next {
                Next::Value(it, next) if it == slot && *edge.text == *text => Some(*next),
                _ => None,
            });
            let next = known.unwrap_or(self.states.len());
            if known.is_none() && !self.add(state, text, Next::Value(slot.clone(), next)) {
                return;
            }
            if known.is_none() {
                self.states.push(Vec::new());
            }
            (state, at) = (next, value.end);
        }
        self.trace.spots = spots;
        let text = &row[at..];
        let same = |it: &Edge| matches!(it.next, Next::End(_)) && *it.text == *text;
        if self.states[state].iter().any(same) {
            return;
        }
        if self.add(state, text, Next::End(self.ends.len())) {
            let gaps = seen.iter().zip(absent).any(|(seen, absent)| !absent && *seen != Seen::Value);
            self.ends.push(End { seen: seen.into(), absent: absent.into(), gaps });
        }
    }

    fn add(&mut self, state: usize, text: &[u8], next: Next) -> bool {
        let edges = &mut self.states[state];
        if edges.len() == MAX_EDGES || self.text + text.len() > MAX_TEXT {
            return false;
        }
        self.text += text.len();
        edges.push(Edge { text: text.into(), next });
        true
    }
}

/// Two texts of one length. They are short: a call to compare them takes longer than to compare them here.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let equal = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*a) == u64::from_le_bytes(*b);
    words.iter().zip(others).all(equal) && rest.iter().zip(other_rest).all(|(a, b)| a == b)
}
