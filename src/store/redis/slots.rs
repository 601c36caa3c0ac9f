//! Which node of a cluster owns what. Pure.

use super::address::Address;
use redis::Value;

/// The slot of a key, of 16,384: that of the part in braces, where there is one.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0).map(|close| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// A run of slots, first and last, and their primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) by: Address,
}

/// Reads the answer to `CLUSTER SLOTS` that `asked` gave; nothing if it is no such answer, or owns nothing.
pub(super) fn read(answer: &Value, asked: &Address) -> Option<Vec<Owned>> {
    let Value::Array(runs) = answer else { return None };
    let mut owned = Vec::with_capacity(runs.len());
    for run in runs {
        let Value::Array(parts) = run else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &**parts else { return None };
        let [host, Value::Int(port), ..] = &**primary else { return None };
        let host = match host {
            Value::BulkString(host) => std::str::from_utf8(host).ok()?,
            Value::SimpleString(host) => host,
            _ => "",
        };
        let by = node(host, u16::try_from(*port).ok()?, asked)?;
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        owned.push(Owned { first, last, by });
    }
    owned.sort_by_key(|run| run.first);
    Some(owned).filter(|owned| !owned.is_empty())
}

/// The node that an answer of `asked` names, which may leave out its own host.
pub(super) fn redirect(to: &str, asked: &Address) -> Option<Address> {
    match Address::of_node(to, asked.is_tls())? {
        Address::Tcp { host, port, .. } => node(&host, port, asked),
        Address::Unix(_) => None,
    }
}

fn node(host: &str, port: u16, asked: &Address) -> Option<Address> {
    let Address::Tcp { host: own, tls, .. } = asked else { return None };
    let host = if host.is_empty() || host == "?" { own.clone() } else { host.into() };
    Some(Address::Tcp { host, port, tls: *tls })
}

/// CRC-16/XMODEM, as the cluster specification says.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn an_answer_is_read() {
        let asked = Address::of_node("10.0.0.1:7000", false).unwrap();
        let primary = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::Nil]);
        let run = |first, last, primary| Value::Array(vec![Value::Int(first), Value::Int(last), primary]);
        let host = Value::BulkString(b"10.0.0.2".to_vec());
        let answer =
            Value::Array(vec![run(8192, 16_383, primary(host, 7001)), run(0, 8191, primary(Value::Nil, 7000))]);
        let owned = read(&answer, &asked).unwrap();
        let shown: Vec<_> = owned.iter().map(|run| (run.first, run.last, run.by.to_string())).collect();
        assert_eq!(shown, [(0, 8191, "10.0.0.1:7000".to_owned()), (8192, 16_383, "10.0.0.2:7001".to_owned())]);
        assert_eq!(read(&Value::Array(Vec::new()), &asked), None);
        assert_eq!(read(&Value::Okay, &asked), None);
        assert_eq!(redirect(":7005", &asked).unwrap().to_string(), "10.0.0.1:7005");
    }
}
