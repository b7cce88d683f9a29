//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Sum of `bytes` as big-endian 16-bit words, not folded; an odd last byte counts as the high one.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    words.sum()
}

pub(crate) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Checksum of `bytes` preceded by what `start` sums up (a pseudo-header, or 0).
pub(crate) fn checksum(start: u32, bytes: &[u8]) -> u16 {
    !fold(start + sum(bytes))
}

/// Sum of the IPv6 pseudo-header (RFC 8200 8.1); `addresses` is source and destination as they
/// stand in the header.
pub(crate) fn pseudo_header_v6(addresses: &[u8], length: usize, next_header: u8) -> u32 {
    sum(addresses) + length as u32 + u32::from(next_header)
}

/// The checksum after one 16-bit word changed: HC' = ~(~HC + ~m + m'), RFC 1624 eqn. 3.
pub(crate) fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}
