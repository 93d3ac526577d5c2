//! Vectors that are indexed by the ids of what they hold, so that a row of one table is never taken
//! for a row of another.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Index, IndexMut};

/// The place of a row in an [`IdVec`].
pub trait Id: Copy {
    /// The id of a place. Tables have less than 2^32 rows; whatever lies beyond has the last id.
    fn at(index: usize) -> Self;

    fn index(self) -> usize;
}

/// Defines ids that are told apart by type.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $crate::ids::Id for $name {
            #[inline]
            fn at(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            #[inline]
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

pub(crate) use ids;

/// Rows of `T` by their id, in the order of ids.
///
/// Reads as a slice, except that a place in it is an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdVec<I, T> {
    rows: Vec<T>,
    id: PhantomData<I>,
}

impl<I, T> Default for IdVec<I, T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<I, T> From<Vec<T>> for IdVec<I, T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, id: PhantomData }
    }
}

impl<I, T> FromIterator<T> for IdVec<I, T> {
    fn from_iter<R: IntoIterator<Item = T>>(rows: R) -> Self {
        rows.into_iter().collect::<Vec<T>>().into()
    }
}

impl<I, T> Deref for IdVec<I, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.rows
    }
}

impl<I, T> DerefMut for IdVec<I, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.rows
    }
}

impl<I: Id, T> Index<I> for IdVec<I, T> {
    type Output = T;

    #[inline]
    fn index(&self, id: I) -> &T {
        &self.rows[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for IdVec<I, T> {
    #[inline]
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.rows[id.index()]
    }
}

impl<'a, I, T> IntoIterator for &'a IdVec<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl<'a, I, T> IntoIterator for &'a mut IdVec<I, T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter_mut()
    }
}

impl<I, T> IntoIterator for IdVec<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<I, T> Extend<T> for IdVec<I, T> {
    fn extend<R: IntoIterator<Item = T>>(&mut self, rows: R) {
        self.rows.extend(rows);
    }
}

impl<I: Id, T> IdVec<I, T> {
    /// As many rows as `of` has, all alike: a column beside another table.
    pub fn filled<U>(of: &IdVec<I, U>, row: T) -> Self
    where
        T: Clone,
    {
        vec![row; of.len()].into()
    }

    /// The id that the next row will have.
    #[inline]
    pub fn next_id(&self) -> I {
        I::at(self.rows.len())
    }

    pub fn push(&mut self, row: T) -> I {
        let id = self.next_id();
        self.rows.push(row);
        id
    }

    #[inline]
    pub fn get(&self, id: I) -> Option<&T> {
        self.rows.get(id.index())
    }

    #[inline]
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.rows.get_mut(id.index())
    }

    pub fn ids(&self) -> impl ExactSizeIterator<Item = I> + use<I, T> {
        (0..self.rows.len()).map(I::at)
    }

    /// Each row with its id.
    pub fn iter_ids(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        self.rows.iter().enumerate().map(|(index, row)| (I::at(index), row))
    }

    /// Leaves the first `len` rows.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    pub fn reserve(&mut self, additional: usize) {
        self.rows.reserve(additional);
    }

    pub fn clear(&mut self) {
        self.rows.clear();
    }

    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.rows.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::IdVec;
    use crate::model::MetaId;

    #[test]
    fn rows_are_found_by_the_ids_that_they_got() {
        let mut rows: IdVec<MetaId, &str> = IdVec::default();
        let [a, b] = ["a", "b"].map(|text| rows.push(text));
        assert_eq!((rows[a], rows[b]), ("a", "b"));
        assert_eq!(rows.get(rows.next_id()), None);
        assert_eq!(rows.iter_ids().collect::<Vec<_>>(), [(a, &"a"), (b, &"b")]);
        let mut lengths = IdVec::filled(&rows, 0);
        lengths[b] = rows[b].len();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1]);
    }
}
