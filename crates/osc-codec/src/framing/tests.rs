use proptest::prelude::*;

use super::*;

fn length_prefixed(max: usize, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut reader = LengthPrefixed::new(max);
    pieces.iter().flat_map(|piece| reader.push(piece).collect::<Vec<_>>()).collect()
}

fn slip(max: usize, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut reader = Slip::new(max);
    pieces.iter().flat_map(|piece| reader.push(piece).collect::<Vec<_>>()).collect()
}

#[test]
fn lengths_are_read_across_pieces() {
    let pieces: [&[u8]; 5] = [&[0, 0], &[0, 4, b'/'], b"a\0\0", &[0, 0, 0, 1, 9, 0, 0, 0, 0], &[0]];
    assert_eq!(
        length_prefixed(4, &pieces),
        [Ok(b"/a\0\0".to_vec()), Ok(vec![9]), Err(FrameError::Empty)]
    );
}

#[test]
fn an_oversized_length_ends_the_stream_and_takes_no_memory() {
    let mut reader = LengthPrefixed::new(4);
    let huge = [&[0x7f, 0xff, 0xff, 0xff][..], &[0, 0, 0, 1, 9]].concat();
    assert_eq!(reader.push(&huge).collect::<Vec<_>>(), [Err(FrameError::TooLong { max: 4 })]);
    assert!(reader.is_broken());
    assert_eq!(reader.push(&[0, 0, 0, 1, 9]).count(), 0);
    assert!(reader.partial.capacity() <= 8);
}

#[test]
fn slip_goes_on_after_packets_that_are_too_long_or_wrong() {
    let stream = [
        &[END, 1, 2, END][..],
        &[END, 1, 2, 3, 4, 5, 6, ESC, 7, END],
        &[3, END],
        &[4, ESC, 5, 6, END],
        &[ESC, ESC_END, ESC, ESC_ESC, END],
        &[7, ESC, END],
        &[8, END],
    ];
    let expected = [
        Ok(vec![1, 2]),
        Err(FrameError::TooLong { max: 4 }),
        Ok(vec![3]),
        Err(FrameError::Escape(5)),
        Ok(vec![END, ESC]),
        Err(FrameError::Escape(END)),
        Ok(vec![8]),
    ];
    assert_eq!(slip(4, &stream), expected);
    let bytes = stream.concat();
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(slip(4, &single), expected);
}

const END: u8 = 0xc0;
const ESC: u8 = 0xdb;
const ESC_END: u8 = 0xdc;
const ESC_ESC: u8 = 0xdd;

#[test]
fn the_first_byte_tells_the_framing() {
    for framing in [Framing::LengthPrefixed, Framing::Slip] {
        let mut reader = Detect::new(64);
        assert_eq!((reader.push(&[]), reader.framing()), (vec![], None));
        assert_eq!(reader.push(&framing.encode(b"/a\0\0").unwrap()), [Ok(b"/a\0\0".to_vec())]);
        assert_eq!(reader.framing(), Some(framing));
    }
}

proptest! {
    #[test]
    fn packets_survive_both_framings_however_they_are_cut(
        packets in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), Just(END), Just(ESC)], 1..64), 0..8),
        cut in 1_usize..40,
    ) {
        for framing in [Framing::LengthPrefixed, Framing::Slip] {
            let stream: Vec<u8> = packets.iter().flat_map(|packet| framing.encode(packet).unwrap()).collect();
            let mut reader = Detect::new(64);
            let read: Result<Vec<_>, _> = stream.chunks(cut).flat_map(|piece| reader.push(piece)).collect();
            prop_assert_eq!(read.as_ref(), Ok(&packets));
        }
    }

    #[test]
    fn no_stream_makes_a_reader_hold_more_than_one_packet(stream in prop::collection::vec(any::<u8>(), 0..512)) {
        let (mut lengths, mut slip) = (LengthPrefixed::new(16), Slip::new(16));
        prop_assert!(lengths.push(&stream).flatten().all(|packet| packet.len() <= 16));
        prop_assert!(slip.push(&stream).flatten().all(|packet| packet.len() <= 16));
        prop_assert!(lengths.partial.len() <= 16);
    }
}
