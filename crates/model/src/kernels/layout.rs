//! Packed trees as blocks of keys and values, as generation has them.

use super::paged::{BLOCK, Bundle, PagedRow, Slot, bundles};
use super::tree::Segment;

/// Where the tokens of packed trees lie in blocks. A segment goes on in its parent's blocks while those are full, and
/// has a copy of the last one where it is not.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The blocks of each segment's path.
    tables: Vec<Vec<u32>>,
    /// For each token its segment and how many positions it sees.
    places: Vec<(usize, usize)>,
    /// What is to be written where.
    pub(crate) slots: Vec<Slot>,
    /// Blocks in all.
    pub(crate) blocks: usize,
    /// Tokens that share their first blocks.
    pub(crate) bundles: Vec<Bundle>,
}

impl Layout {
    pub(crate) fn new(segments: &[Segment]) -> Self {
        let mut tables: Vec<Vec<u32>> = Vec::with_capacity(segments.len());
        let mut paths: Vec<Vec<usize>> = Vec::with_capacity(segments.len());
        let (mut places, mut slots, mut blocks) = (Vec::new(), Vec::new(), 0_usize);
        for (index, segment) in segments.iter().enumerate() {
            let mut path = segment.parent.map_or_else(Vec::new, |parent| paths[parent].clone());
            let first = path.len();
            path.extend(segment.start..segment.start + segment.len);
            let mut table = segment.parent.map_or_else(Vec::new, |parent| tables[parent].clone());
            table.truncate(first / BLOCK);
            let shared = table.len();
            while table.len() * BLOCK < path.len() {
                table.push(blocks as u32);
                blocks += 1;
            }
            let own = path.iter().enumerate().skip(shared * BLOCK);
            slots.extend(own.map(|(i, &token)| Slot { token, block: table[i / BLOCK], at: i % BLOCK }));
            places.extend((first..path.len()).map(|position| (index, position + 1)));
            tables.push(table);
            paths.push(path);
        }
        let mut layout = Self { tables, places, slots, blocks, bundles: Vec::new() };
        layout.bundles = bundles(&layout.rows());
        layout
    }

    /// One row a token.
    pub(crate) fn rows(&self) -> Vec<PagedRow<'_>> {
        self.places.iter().map(|&(segment, len)| PagedRow { blocks: &self.tables[segment], len }).collect()
    }
}
