//! Where a scan of all servers stands, and the patterns it asks for.

use crate::store::{Cursor, StoreError};

/// A position in a scan: a server, and the cursor it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) node: String,
    pub(super) cursor: u64,
}

impl Position {
    pub(super) fn read(cursor: &Cursor) -> Result<Self, StoreError> {
        let (number, node) = cursor.0.split_first_chunk::<8>().ok_or(StoreError::Protocol)?;
        let node = std::str::from_utf8(node).map_err(|_| StoreError::Protocol)?;
        Ok(Self { node: node.to_owned(), cursor: u64::from_be_bytes(*number) })
    }

    pub(super) fn write(&self) -> Cursor {
        let mut bytes = self.cursor.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.node.as_bytes());
        Cursor(bytes.into())
    }
}

/// The pattern of all keys that begin like this.
pub(super) fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back() {
        let position = Position { node: "[::1]:7000".to_owned(), cursor: u64::MAX - 5 };
        assert_eq!(Position::read(&position.write()), Ok(position));
        assert!(Position::read(&Cursor(Box::new([1, 2]))).is_err());
    }

    #[test]
    fn what_is_special_in_patterns_is_not_in_prefixes() {
        assert_eq!(pattern("shop:v1:"), "shop:v1:*");
        assert_eq!(pattern("a*b?[c]^\\"), "a\\*b\\?\\[c\\]\\^\\\\*");
    }
}
