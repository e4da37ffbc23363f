//! The line at which Forward tells of a fault.
//!
//! In: a diagnostic of ours, at its exact place, and the file. Out: the line that Forward's tools print. Two rules of how
//! they read explain all of them:
//!
//! 1. The command of a block is run when the block closes, so what is wrong with the whole has the line that closed it, or
//!    the one after the last. (Only that the command may be no block is told where it opens.)
//! 2. What is wrong inside of a block has the line of its command and, added to that, its line in the text that is left
//!    without blank and `#` lines. A type is read to the comma or the end of the block, and has the line where it ends.

use crate::{
    datafile::{Dialect, Kind, is_known},
    diagnostic::{Diagnostic, Lines, Source},
};

/// A command with a block: numbers of lines, from one.
struct Block {
    head: usize,
    /// Those that are left of its text.
    kept: Vec<usize>,
    /// The line that closed it.
    close: usize,
}

/// The line that Forward gives where it may be another one than the fault's.
pub(super) fn line(error: &Diagnostic, source: &Source) -> Option<usize> {
    let place = error.place.as_ref().filter(|it| it.path == source.path)?;
    let index = Lines::of(&source.text);
    let at = index.line(place.span.start);
    let lines: Vec<&str> = index.texts(&source.text).collect();
    let blocks = blocks(&lines, Kind::of(&source.path)?);
    if let Some(block) = blocks.iter().find(|it| it.head == at) {
        return (error.code != "block_not_allowed_for_command").then_some(block.close);
    }
    let block = blocks.iter().find(|it| it.kept.contains(&at))?;
    let first = block.kept.iter().position(|it| *it == at)?;
    let is_type =
        matches!(error.code, "swallowed_command" | "type_syntax" | "unknown_type" | "aggregate_storage_mismatch");
    let ends = |line: &usize| lines.get(line - 1).is_some_and(|it| it.trim_end().ends_with(','));
    let last = match is_type {
        true => block.kept[first..].iter().position(ends).map_or(block.kept.len() - 1, |it| first + it),
        false => first,
    };
    Some(block.head + last + 1)
}

fn blocks(lines: &[&str], kind: Kind) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (index, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().filter(|it| !it.starts_with('#')) else { continue };
        let indented = line.starts_with([' ', '\t']);
        if let Some(block) = blocks.last_mut().filter(|_| is_open) {
            if indented || !is_known(&first.to_lowercase(), kind, Dialect::Forward) {
                block.kept.push(index + 1);
                continue;
            }
            block.close = index + 1;
        }
        is_open = words.next() == Some(">");
        if is_open {
            blocks.push(Block { head: index + 1, kept: Vec::new(), close: lines.len() + 1 });
        }
    }
    blocks
}
