//! Who holds which block, and what lies in it.

use std::collections::BTreeSet;

use relign_model::kv::KvPool;

const BLOCK: usize = KvPool::BLOCK;

/// Rooms to begin with.
const FIRST: usize = 128;

/// The accounts of a pool of blocks, and the tree that blocks form over the tokens computed into them.
///
/// A block is held by the sequences it is part of; only its first holder writes to it, and only past
/// what is there. Whoever holds a block holds the path to it. Blocks nobody holds stay as cached
/// prefixes until their room is needed: those unused for longest go first, leaves before their parents.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    free: Vec<u32>,
    roots: Vec<u32>,
    /// Cached blocks without children, by when they were let go.
    leaves: BTreeSet<(u64, u32)>,
    /// Cached blocks in all.
    cached: usize,
    limit: usize,
    clock: u64,
    peak: usize,
}

#[derive(Clone, Debug, Default)]
struct Block {
    holders: u32,
    tokens: Vec<u32>,
    parent: Option<u32>,
    children: Vec<u32>,
    released: u64,
}

/// The longest beginning of some tokens that was computed already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Blocks that match in full.
    pub(crate) full: Vec<u32>,
    /// A block after them of which only the first tokens match.
    pub(crate) part: Option<(u32, usize)>,
}

impl Found {
    /// Tokens that match.
    pub(crate) fn tokens(&self) -> usize {
        self.full.len() * BLOCK + self.part.map_or(0, |(_, n)| n)
    }
}

impl Blocks {
    /// Accounts for at most `limit` blocks.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
            roots: Vec::new(),
            leaves: BTreeSet::new(),
            cached: 0,
            limit,
            clock: 0,
            peak: 0,
        }
    }

    /// Rooms in use or free; the pool must have as many.
    pub(crate) fn room(&self) -> usize {
        self.blocks.len()
    }

    /// The most blocks held at one time.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// Blocks that can be taken once those of `found` are held.
    pub(crate) fn available_beside(&self, found: &Found) -> usize {
        let reused = found.full.iter().filter(|&&id| self.blocks[id as usize].holders == 0).count();
        self.limit - self.blocks.len() + self.free.len() + self.cached - reused
    }

    /// The longest computed beginning of `tokens`.
    pub(crate) fn find(&self, tokens: &[u32]) -> Found {
        let mut found = Found::default();
        let mut siblings = &self.roots;
        loop {
            let rest = &tokens[found.full.len() * BLOCK..];
            let mut best: Option<(u32, usize)> = None;
            for &id in siblings {
                let n = common(&self.blocks[id as usize].tokens, rest);
                if n > best.map_or(0, |(_, n)| n) {
                    best = Some((id, n));
                }
            }
            match best {
                Some((id, BLOCK)) => {
                    found.full.push(id);
                    siblings = &self.blocks[id as usize].children;
                }
                part => {
                    found.part = part;
                    return found;
                }
            }
        }
    }

    /// Holds a block. The path to it must be held first.
    pub(crate) fn hold(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.cached -= 1;
            self.leaves.remove(&(block.released, id));
        }
        block.holders += 1;
        self.note_peak();
    }

    /// Whether a cached block can be written on as it is after its first `n` tokens.
    pub(crate) fn can_continue(&self, id: u32, n: usize) -> bool {
        let block = &self.blocks[id as usize];
        block.holders == 0 && block.tokens.len() == n
    }

    /// Takes an empty block, or `None` when all are held.
    pub(crate) fn take(&mut self) -> Option<u32> {
        // Room grows until as much is cached as is held; from there on what was unused longest goes.
        if self.free.is_empty() && (self.blocks.len() >= self.limit || self.cached * 2 > self.blocks.len()) {
            self.evict();
        }
        if self.free.is_empty() {
            self.grow();
        }
        let id = self.free.pop()?;
        self.blocks[id as usize].holders = 1;
        self.note_peak();
        Some(id)
    }

    /// Copies what is known of the first `n` tokens of `from` to the block `to`, just taken.
    pub(crate) fn copied(&mut self, from: u32, to: u32, n: usize) {
        let tokens = self.blocks[from as usize].tokens[..n].to_vec();
        let parent = self.blocks[from as usize].parent;
        self.blocks[to as usize].tokens = tokens;
        self.link(to, parent);
    }

    /// Notes that `token` was computed into block `id`, which follows `parent`. Returns the block to
    /// hold from now on: where the block is full and another has the same content, that other one.
    pub(crate) fn computed(&mut self, id: u32, parent: Option<u32>, token: u32) -> u32 {
        if self.blocks[id as usize].tokens.is_empty() {
            self.link(id, parent);
        }
        let block = &mut self.blocks[id as usize];
        debug_assert!(block.tokens.len() < BLOCK && block.holders == 1, "one writer, and room to write");
        block.tokens.push(token);
        if block.tokens.len() < BLOCK {
            return id;
        }
        let tokens = &self.blocks[id as usize].tokens;
        let twin =
            self.siblings(parent).iter().copied().find(|&t| t != id && self.blocks[t as usize].tokens == *tokens);
        let Some(twin) = twin else { return id };
        self.hold(twin);
        self.discard(id);
        twin
    }

    /// Lets a sequence's blocks go, given in order.
    pub(crate) fn release(&mut self, ids: &[u32]) {
        self.clock += 1;
        for &id in ids.iter().rev() {
            let block = &mut self.blocks[id as usize];
            block.holders -= 1;
            if block.holders > 0 {
                continue;
            }
            if block.tokens.is_empty() {
                self.free.push(id);
                continue;
            }
            block.released = self.clock;
            self.cached += 1;
            if block.children.is_empty() {
                self.leaves.insert((self.clock, id));
            }
        }
    }

    fn grow(&mut self) {
        let from = self.blocks.len();
        let to = (from * 2).max(FIRST).min(self.limit);
        self.blocks.resize(to, Block::default());
        self.free.extend((from as u32..to as u32).rev());
    }

    fn evict(&mut self) {
        let Some((_, id)) = self.leaves.pop_first() else { return };
        self.cached -= 1;
        let parent = self.discard(id);
        if let Some(parent) = parent {
            let block = &self.blocks[parent as usize];
            if block.holders == 0 && block.children.is_empty() {
                self.leaves.insert((block.released, parent));
            }
        }
    }

    /// Takes a block out of the tree and frees it; returns its parent.
    fn discard(&mut self, id: u32) -> Option<u32> {
        let block = &mut self.blocks[id as usize];
        let parent = block.parent.take();
        block.tokens.clear();
        block.holders = 0;
        self.siblings_mut(parent).retain(|&child| child != id);
        self.free.push(id);
        parent
    }

    fn link(&mut self, id: u32, parent: Option<u32>) {
        self.blocks[id as usize].parent = parent;
        self.siblings_mut(parent).push(id);
    }

    fn siblings(&self, parent: Option<u32>) -> &Vec<u32> {
        parent.map_or(&self.roots, |parent| &self.blocks[parent as usize].children)
    }

    fn siblings_mut(&mut self, parent: Option<u32>) -> &mut Vec<u32> {
        match parent {
            Some(parent) => &mut self.blocks[parent as usize].children,
            None => &mut self.roots,
        }
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.blocks.len() - self.free.len() - self.cached);
    }
}

/// How many tokens two sequences begin with in common.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sequence as the engine keeps one: its tokens and its blocks.
    type Held = (Vec<u32>, Vec<u32>);

    /// Takes what is there of `tokens` and computes the rest; `None` where room ran out.
    fn enter(blocks: &mut Blocks, tokens: &[u32]) -> Option<Held> {
        let found = blocks.find(tokens);
        let mut ids = found.full.clone();
        ids.iter().for_each(|&id| blocks.hold(id));
        for (i, &token) in tokens.iter().enumerate().skip(ids.len() * BLOCK) {
            if i % BLOCK == 0 {
                let Some(id) = blocks.take() else {
                    blocks.release(&ids);
                    return None;
                };
                ids.push(id);
            }
            let parent = (i / BLOCK).checked_sub(1).map(|before| ids[before]);
            ids[i / BLOCK] = blocks.computed(ids[i / BLOCK], parent, token);
        }
        Some((tokens.to_vec(), ids))
    }

    fn check(blocks: &Blocks, held: &[Held]) {
        let mut holders = vec![0; blocks.blocks.len()];
        for (tokens, ids) in held {
            let found = blocks.find(tokens);
            assert_eq!(found.tokens(), tokens.len(), "what is held is found");
            for (&id, tokens) in ids.iter().zip(tokens.chunks(BLOCK)) {
                assert_eq!(&blocks.blocks[id as usize].tokens[..tokens.len()], tokens);
                holders[id as usize] += 1;
            }
        }
        let (mut cached, mut leaves) = (0, BTreeSet::new());
        for (id, block) in blocks.blocks.iter().enumerate() {
            assert_eq!(block.holders, holders[id], "block {id}");
            if block.holders == 0 && !block.tokens.is_empty() {
                cached += 1;
                if block.children.is_empty() {
                    leaves.insert((block.released, id as u32));
                }
            }
            let siblings = blocks.siblings(block.parent);
            assert_eq!(siblings.contains(&(id as u32)), !block.tokens.is_empty(), "block {id} in the tree");
            if let Some(parent) = block.parent {
                let parent = &blocks.blocks[parent as usize];
                assert!(parent.holders >= block.holders.min(1) && parent.tokens.len() == BLOCK);
            }
        }
        assert_eq!((blocks.cached, &blocks.leaves), (cached, &leaves));
        let in_use = holders.iter().filter(|&&n| n > 0).count();
        assert_eq!(in_use + cached + blocks.free.len(), blocks.room());
        assert!(blocks.room() <= blocks.limit);
    }

    proptest! {
        #[test]
        fn accounts_balance(steps in prop::collection::vec((0_usize..4, 1_usize..60, 0_usize..8), 1..60)) {
            let mut blocks = Blocks::new(12);
            let mut held: Vec<Held> = Vec::new();
            for (what, len, which) in steps {
                if what == 0 && !held.is_empty() {
                    let (_, ids) = held.swap_remove(which % held.len());
                    blocks.release(&ids);
                } else {
                    // Sequences that part at different places.
                    let tokens: Vec<u32> =
                        (0..len).map(|i| if i >= which * 9 { 1000 * which as u32 + i as u32 } else { i as u32 }).collect();
                    held.extend(enter(&mut blocks, &tokens));
                }
                check(&blocks, &held);
            }
            let ids: Vec<_> = held.drain(..).map(|(_, ids)| ids).collect();
            ids.iter().for_each(|ids| blocks.release(ids));
            check(&blocks, &held);
            prop_assert_eq!(blocks.available_beside(&Found::default()), 12);
            prop_assert_eq!((0..12).filter_map(|_| blocks.take()).count(), 12, "all can be had again");
            prop_assert_eq!(blocks.take(), None);
        }
    }
}
