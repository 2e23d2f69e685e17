//! Joins several byte strings into one that can be taken apart in only one way, for keys and authenticated data.
//! It gives the parts no meaning and never guesses at a broken frame.

/// Joins `parts`, each behind its length as eight big-endian bytes, so that no two lists of parts give the same bytes.
pub(crate) fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(parts.iter().map(|part| LENGTH_BYTES + part.len()).sum());
    for part in parts {
        framed.extend_from_slice(&(part.len() as u64).to_be_bytes());
        framed.extend_from_slice(part);
    }
    framed
}

/// Takes the first part off `framed` and returns it with what follows, or `None` where the frame is broken.
pub(crate) fn take(framed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = framed.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

const LENGTH_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_comes_apart_again() {
        let framed = join(&[b"tree", b"", b"field"]);
        let (tree, rest) = take(&framed).unwrap();
        let (record, rest) = take(rest).unwrap();
        let (field, rest) = take(rest).unwrap();
        assert_eq!((tree, record, field, rest), (&b"tree"[..], &b""[..], &b"field"[..], &b""[..]));
    }

    #[test]
    fn bytes_moved_over_a_border_give_another_frame() {
        assert_ne!(join(&[b"ab", b"c"]), join(&[b"a", b"bc"]));
        assert_ne!(join(&[b"ab"]), join(&[b"ab", b""]));
    }

    #[test]
    fn a_length_beyond_the_end_is_no_frame() {
        assert!(take(&[0, 0, 0, 0, 0, 0, 0, 2, b'a']).is_none());
        assert!(take(&[0xff; 9]).is_none());
        assert!(take(b"short").is_none());
    }
}
