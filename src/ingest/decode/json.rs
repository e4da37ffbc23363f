//! One walk over a JSON row along the tree of jsonpaths.
//!
//! In: a row's text and the tree. Out: calls to a [`Leaves`] with the text of each value that a path ends
//! at. What the values mean is not known here; what no path wants is only checked to be JSON.

use super::schema::Node;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Takes what the walk finds. `depth` counts the `[:]` on the way.
pub(super) trait Leaves {
    /// A value of a column. The same column comes again where a row repeats a key.
    fn leaf(&mut self, column: usize, raw: &str, depth: usize);
    /// An array whose items go to these columns begins, has had an item, ends.
    fn array(&mut self, columns: &[usize], depth: usize);
    fn item(&mut self, columns: &[usize], depth: usize);
    fn end(&mut self, columns: &[usize], depth: usize);
    /// By node: the place of the key that is expected next.
    fn hint(&mut self, node: usize) -> &mut usize;
}

/// Walks a row. The error is a sentence about the text; leaves before it may have been taken.
pub(super) fn walk(root: &Node, row: &str, leaves: &mut impl Leaves) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(row);
    Walk { node: root, leaves, depth: 0 }.deserialize(&mut deserializer).map_err(|it| it.to_string())?;
    deserializer.end().map_err(|it| it.to_string())
}

struct Walk<'a, L> {
    node: &'a Node,
    leaves: &'a mut L,
    depth: usize,
}

impl<'de, L: Leaves> DeserializeSeed<'de> for Walk<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.leaves.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        for column in &self.node.leaves {
            self.leaves.leaf(*column, raw, self.depth);
        }
        if self.node.is_leaf() {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw).deserialize_any(self).map_err(D::Error::custom)
    }
}

impl<'de, L: Leaves> Visitor<'de> for Walk<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Walk { node, leaves, depth } = self;
        loop {
            let hint = *leaves.hint(node.id);
            let Some(found) = fields.next_key_seed(Key { children: &node.keys, hint })? else { return Ok(()) };
            match found {
                Some(index) => {
                    *leaves.hint(node.id) = index + 1;
                    fields.next_value_seed(Walk { node: &node.keys[index].1, leaves: &mut *leaves, depth })?;
                }
                None => _ = fields.next_value::<IgnoredAny>()?,
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Walk { node, leaves, depth } = self;
        let Some(each) = node.each.as_deref() else {
            for index in 0.. {
                let more = match node.indexes.iter().find(|(it, _)| *it == index) {
                    Some((_, node)) => items.next_element_seed(Walk { node, leaves: &mut *leaves, depth })?.is_some(),
                    None => items.next_element::<IgnoredAny>()?.is_some(),
                };
                if !more {
                    break;
                }
            }
            return Ok(());
        };
        leaves.array(&each.columns, depth);
        for index in 0.. {
            // An item that `[:]` and `[0]` both want is walked twice.
            let Some(raw) = items.next_element::<&RawValue>()? else { break };
            again(raw, Walk { node: &each.node, leaves: &mut *leaves, depth: depth + 1 })?;
            leaves.item(&each.columns, depth);
            if let Some((_, node)) = node.indexes.iter().find(|(it, _)| *it == index) {
                again(raw, Walk { node, leaves: &mut *leaves, depth })?;
            }
        }
        leaves.end(&each.columns, depth);
        Ok(())
    }

    // Where a path goes on but the value does not, there is nothing to find.

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn again<L: Leaves, E: Error>(raw: &RawValue, walk: Walk<'_, L>) -> Result<(), E> {
    walk.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).map_err(E::custom)
}

/// Finds the child that a key names, the expected one first.
struct Key<'a> {
    children: &'a [(String, Node)],
    hint: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        if self.children.get(self.hint).is_some_and(|(it, _)| it == key) {
            return Ok(Some(self.hint));
        }
        Ok(self.children.iter().position(|(it, _)| it == key))
    }
}
