//! A text made of pieces of the client's own, so that what PostgreSQL says of a place in it can be told of the client's.

use std::ops::Range;

/// Pieces of a client's text in order, with other text between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spliced {
    pub text: Vec<u8>,
    /// Where a piece begins here, and which bytes of the client's text it is.
    pieces: Vec<(usize, Range<usize>)>,
}

/// One piece of the client's text to be written otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    pub place: Range<usize>,
    pub by: String,
}

impl Spliced {
    /// Appends a piece of the client's text, with what is to be replaced in it. Replacements are in order and within one piece each.
    pub fn keep(&mut self, client: &[u8], piece: Range<usize>, replacements: &[Replacement]) {
        let mut start = piece.start;
        let within = |place: &Range<usize>| piece.contains(&place.start) || place.is_empty() && place.start == piece.end;
        for replacement in replacements.iter().filter(|replacement| within(&replacement.place)) {
            self.piece(client, start..replacement.place.start);
            self.insert(replacement.by.as_bytes());
            start = replacement.place.end;
        }
        self.piece(client, start..piece.end);
    }

    fn piece(&mut self, client: &[u8], piece: Range<usize>) {
        if let Some(bytes) = client.get(piece.clone()) {
            self.pieces.push((self.text.len(), piece));
            self.text.extend_from_slice(bytes);
        }
    }

    /// Appends text of our own.
    pub fn insert(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// The place in the client's text of a place in this one; both count characters from 1. Within text of our own: where that stands.
    #[must_use]
    pub fn client_position(&self, client: &[u8], position: usize) -> usize {
        let at = byte_of(&self.text, position);
        let before = self.pieces.iter().rev().find(|(start, _)| *start <= at);
        let place = before.map_or(0, |(start, piece)| (piece.start + (at - start)).min(piece.end));
        character_of(client, place)
    }
}

/// The byte at which the character of this number begins.
fn byte_of(text: &[u8], position: usize) -> usize {
    let mut characters = text.iter().enumerate().filter(|(_, byte)| is_start(**byte)).map(|(at, _)| at);
    characters.nth(position.saturating_sub(1)).unwrap_or(text.len())
}

fn character_of(text: &[u8], at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).iter().filter(|byte| is_start(**byte)).count()
}

/// Whether a byte of UTF-8 begins a character.
fn is_start(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use crate::sql::splice::{Replacement, Spliced};

    #[test]
    fn places_are_the_clients() {
        let client = "insert into t values (1, 'ä'), (2, now()), (3, 'ö')";
        let mut spliced = Spliced::default();
        let now = client.find("now()").expect("there");
        let row = client.find("(2").expect("there");
        spliced.keep(client.as_bytes(), 0..21, &[]);
        spliced.keep(client.as_bytes(), row..row + 10, &[Replacement { place: now..now + 5, by: "'x'::y".to_owned() }]);
        spliced.insert(b", ");
        let third = client.find("(3").expect("there");
        spliced.keep(client.as_bytes(), third..client.len(), &[]);
        assert_eq!(String::from_utf8_lossy(&spliced.text), "insert into t values (2, 'x'::y), (3, 'ö')");
        let found = |part: &str| {
            let text = String::from_utf8_lossy(&spliced.text).into_owned();
            let position = text[..text.find(part).expect("there")].chars().count() + 1;
            client.chars().skip(spliced.client_position(client.as_bytes(), position) - 1).collect::<String>()
        };
        assert_eq!(found("2, "), "2, now()), (3, 'ö')");
        assert_eq!(found("ö'"), "ö')");
        assert_eq!(found("into"), &client[7..]);
    }
}
