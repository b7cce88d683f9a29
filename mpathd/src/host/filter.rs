//! The classic BPF program of a receive socket: what answers us, and nothing else. Not what this host
//! sends, and not frames with a VLAN id, which are another device's (the kernel has taken the tag out
//! of the frame by then).

use mpathd_core::ids::Family;

pub(super) type Instruction = libc::sock_filter;

const LD_H_ABS: u16 = 0x28;
const LD_B_ABS: u16 = 0x30;
const LD_W_ABS: u16 = 0x20;
/// X = 4 * (byte & 15): the length of an IPv4 header.
const LDX_B_MSH: u16 = 0xb1;
const LD_B_IND: u16 = 0x50;
const LD_W_IND: u16 = 0x40;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const RET: u16 = 0x06;

/// Offsets that mean a property of the packet instead of a byte in it (SKF_AD_OFF).
const PACKET_TYPE: u32 = (-0x1000i32 + 4).cast_unsigned();
const VLAN_TAG: u32 = (-0x1000i32 + 44).cast_unsigned();
const VLAN_TAG_PRESENT: u32 = (-0x1000i32 + 48).cast_unsigned();
const PACKET_OUTGOING: u32 = 4;
const VLAN_ID: u32 = 0x0fff;

const ETHERTYPE: u32 = 12;
const NETWORK: u32 = 14;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ARP_OPERATION: u32 = NETWORK + 6;
const ARP_REPLY: u32 = 2;
const NEXT_HEADER: u32 = NETWORK + 6;
const ICMPV6: u32 = 58;
const ICMPV6_TYPE: u32 = NETWORK + 40;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
const ICMPV6_ECHO_REPLY: u32 = 129;
const PROTOCOL: u32 = NETWORK + 9;
const ICMP: u32 = 1;
const ICMP_ECHO_REPLY: u32 = 0;
const ICMP_HEADER: u32 = 8;

const WHOLE: u32 = 0x4_0000;

/// A value to load, and what it must be.
struct Check {
    load: Vec<Instruction>,
    is: u32,
}

/// ARP replies and neighbour advertisements; with `replies` also echo replies whose payload begins
/// with `magic`.
pub(super) fn answers(replies: bool, magic: u32) -> Vec<Instruction> {
    let mut program = received();
    accept(&mut program, &[half(ETHERTYPE, ETHERTYPE_ARP), half(ARP_OPERATION, ARP_REPLY)]);
    accept(
        &mut program,
        &[
            half(ETHERTYPE, ETHERTYPE_IPV6),
            byte(NEXT_HEADER, ICMPV6),
            byte(ICMPV6_TYPE, NEIGHBOUR_ADVERTISEMENT),
        ],
    );
    if replies {
        accept(&mut program, &echo_reply(Family::Inet6, &[magic]));
        accept(&mut program, &echo_reply(Family::Inet, &[magic]));
    }
    program.push(give(0));
    program
}

/// Echo replies of one family whose payload begins with these words.
pub(super) fn echo_replies(family: Family, payload: &[u32]) -> Vec<Instruction> {
    let mut program = received();
    accept(&mut program, &echo_reply(family, payload));
    program.push(give(0));
    program
}

/// Of the first two the whole frame is refused where the value is found or missed.
fn received() -> Vec<Instruction> {
    let mut program = vec![load(LD_W_ABS, PACKET_TYPE), jump(PACKET_OUTGOING, 0, 1), give(0)];
    // Before Linux 6.2 a VLAN device's frames keep the id of the tag that is no longer present.
    program.extend([load(LD_W_ABS, VLAN_TAG_PRESENT), jump(0, 4, 0)]);
    program.extend([load(LD_W_ABS, VLAN_TAG), load(AND, VLAN_ID), jump(0, 1, 0), give(0)]);
    program
}

/// `payload`: its first words.
fn echo_reply(family: Family, payload: &[u32]) -> Vec<Check> {
    let words = payload.iter().zip((ICMP_HEADER..).step_by(4));
    match family {
        Family::Inet6 => {
            let mut checks = vec![
                half(ETHERTYPE, ETHERTYPE_IPV6),
                byte(NEXT_HEADER, ICMPV6),
                byte(ICMPV6_TYPE, ICMPV6_ECHO_REPLY),
            ];
            checks.extend(words.map(|(is, at)| word(ICMPV6_TYPE + at, *is)));
            checks
        }
        Family::Inet => {
            let header = load(LDX_B_MSH, NETWORK);
            let mut checks = vec![
                half(ETHERTYPE, ETHERTYPE_IPV4),
                byte(PROTOCOL, ICMP),
                Check { load: vec![header, load(LD_B_IND, NETWORK)], is: ICMP_ECHO_REPLY },
            ];
            checks.extend(
                words.map(|(is, at)| Check { load: vec![load(LD_W_IND, NETWORK + at)], is: *is }),
            );
            checks
        }
    }
}

/// Accepts the frame if all checks hold, else goes on behind.
fn accept(program: &mut Vec<Instruction>, checks: &[Check]) {
    let mut rest: usize = checks.iter().map(|check| check.load.len() + 1).sum();
    for check in checks {
        program.extend(&check.load);
        rest -= check.load.len() + 1;
        // Past the rest of the checks and the acceptance.
        program.push(jump(check.is, 0, rest + 1));
    }
    program.push(give(WHOLE));
}

fn half(at: u32, is: u32) -> Check {
    Check { load: vec![load(LD_H_ABS, at)], is }
}

fn byte(at: u32, is: u32) -> Check {
    Check { load: vec![load(LD_B_ABS, at)], is }
}

fn word(at: u32, is: u32) -> Check {
    Check { load: vec![load(LD_W_ABS, at)], is }
}

fn load(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(equal: u32, hit: u8, miss: usize) -> Instruction {
    Instruction { code: JEQ, jt: hit, jf: u8::try_from(miss).unwrap_or(u8::MAX), k: equal }
}

fn give(bytes: u32) -> Instruction {
    load(RET, bytes)
}
