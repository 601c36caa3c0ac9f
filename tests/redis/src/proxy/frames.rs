//! Where commands and replies end.

/// Finds the ends of RESP values, both of RESP2 and of RESP3, in a stream that comes in pieces.
///
/// What is not RESP is taken as lines, which inline commands are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// How much is left of a bulk string with its line end.
    bulk: usize,
    /// How many elements are left, of the outermost value first.
    open: Vec<usize>,
}

impl Frames {
    /// How many of these bytes belong to the current value, and whether it ends with them. Takes at least one of them.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        while taken < bytes.len() {
            if self.bulk > 0 {
                let part = self.bulk.min(bytes.len() - taken);
                self.bulk -= part;
                taken += part;
                if self.bulk == 0 && self.element() {
                    return (taken, true);
                }
                continue;
            }
            let byte = bytes[taken];
            taken += 1;
            if byte != b'\n' {
                if self.line.len() < LINE {
                    self.line.push(byte);
                }
            } else if self.line_ends() {
                return (taken, true);
            }
        }
        (taken, false)
    }

    /// Whether the value ends with this line.
    fn line_ends(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let kind = line.first().copied().unwrap_or_default();
        // A length of -1 is a null, without anything that follows.
        let length =
            line.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.trim_end().parse::<usize>().ok());
        match (kind, length) {
            (b'$' | b'=' | b'!', Some(length)) => {
                self.bulk = length + 2;
                return false;
            }
            (b'*' | b'~' | b'>', Some(length @ 1..)) => self.open.push(length),
            (b'%', Some(length @ 1..)) => self.open.push(2 * length),
            // Attributes come before the value that they belong to.
            (b'|', Some(length)) => self.open.push(2 * length + 1),
            _ => return self.element(),
        }
        false
    }

    /// An element has ended. Whether the whole value has.
    fn element(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

/// How much of a line is needed: a type and a length.
const LINE: usize = 24;

#[cfg(test)]
mod tests {
    use super::Frames;

    fn split(stream: &[u8], piece: usize) -> Vec<String> {
        let mut frames = Frames::default();
        let (mut values, mut value) = (Vec::new(), Vec::new());
        for mut bytes in stream.chunks(piece) {
            while !bytes.is_empty() {
                let (taken, ends) = frames.next(bytes);
                value.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if ends {
                    values.push(String::from_utf8(std::mem::take(&mut value)).unwrap());
                }
            }
        }
        assert!(value.is_empty());
        values
    }

    #[test]
    fn values_end_where_they_end_however_the_stream_is_cut() {
        let values = [
            "+OK\r\n",
            "$5\r\n*1\r\n\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "$0\r\n\r\n",
            "*2\r\n*2\r\n:1\r\n$1\r\na\r\n*0\r\n",
            "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n",
            ">3\r\n+message\r\n+a\r\n$3\r\nabc\r\n",
            "|1\r\n+ttl\r\n:5\r\n*1\r\n,1.5\r\n",
            "=7\r\ntxt:abc\r\n",
            "!3\r\nERR\r\n",
            "_\r\n",
            "(123456789012345678901234567890\r\n",
            "-ERR a message that is longer than what is kept of a line\r\n",
            "PING\r\n",
        ];
        for piece in 1..40 {
            assert_eq!(split(values.concat().as_bytes(), piece), values, "{piece}");
        }
    }
}
