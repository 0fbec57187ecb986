use std::slice;

use crate::value::{Argument, Message};
use crate::{BUNDLE, DEEPEST, TimeTag};

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("an address has to begin with '/'")]
    Address,
    #[error("a text holds a zero character, where OSC strings end")]
    Zero,
    #[error("arrays go deeper than {DEEPEST} levels")]
    Depth,
    #[error("a blob or message has more bytes than a 32 bit size can say")]
    Size,
}

/// Writes one message.
///
/// # Errors
/// [`EncodeError`] when OSC has no bytes for it.
pub fn encode_message(message: &Message) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(64);
    write_message(&mut bytes, message)?;
    Ok(bytes)
}

/// Writes a bundle of messages.
///
/// # Errors
/// [`EncodeError`] when OSC has no bytes for a message.
pub fn encode_bundle(due: TimeTag, messages: &[Message]) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(16 + 64 * messages.len());
    bytes.extend(BUNDLE);
    bytes.extend(due.0.to_be_bytes());
    for message in messages {
        let at = bytes.len();
        bytes.extend([0; 4]);
        write_message(&mut bytes, message)?;
        let size = size(bytes.len() - at - 4)?;
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&size);
        }
    }
    Ok(bytes)
}

fn write_message(bytes: &mut Vec<u8>, message: &Message) -> Result<(), EncodeError> {
    if !message.address.starts_with('/') {
        return Err(EncodeError::Address);
    }
    write_string(bytes, &message.address)?;
    bytes.push(b',');
    let mut length = 1;
    in_order(&message.arguments, |step| {
        bytes.push(match step {
            Step::Argument(argument) => tag(argument),
            Step::EndOfArray => b']',
        });
        length += 1;
        Ok(())
    })?;
    pad_string(bytes, length);
    in_order(&message.arguments, |step| match step {
        Step::Argument(argument) => write_data(bytes, argument),
        Step::EndOfArray => Ok(()),
    })
}

enum Step<'m> {
    Argument(&'m Argument),
    EndOfArray,
}

/// Visits arguments and what is in them as they are written, without calling itself.
fn in_order<'m>(
    arguments: &'m [Argument],
    mut visit: impl FnMut(Step<'m>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let mut open: Vec<slice::Iter<'m, Argument>> = vec![arguments.iter()];
    while let Some(unvisited) = open.last_mut() {
        match unvisited.next() {
            Some(argument) => {
                visit(Step::Argument(argument))?;
                if let Argument::Array(array) = argument {
                    if open.len() > DEEPEST {
                        return Err(EncodeError::Depth);
                    }
                    open.push(array.iter());
                }
            }
            None => {
                open.pop();
                if !open.is_empty() {
                    visit(Step::EndOfArray)?;
                }
            }
        }
    }
    Ok(())
}

fn tag(argument: &Argument) -> u8 {
    match argument {
        Argument::Int(_) => b'i',
        Argument::Long(_) => b'h',
        Argument::Float(_) => b'f',
        Argument::Double(_) => b'd',
        Argument::String(_) => b's',
        Argument::Symbol(_) => b'S',
        Argument::Blob(_) => b'b',
        Argument::TimeTag(_) => b't',
        Argument::Char(_) => b'c',
        Argument::Color(_) => b'r',
        Argument::Midi(_) => b'm',
        Argument::True => b'T',
        Argument::False => b'F',
        Argument::Nil => b'N',
        Argument::Impulse => b'I',
        Argument::Array(_) => b'[',
    }
}

fn write_data(bytes: &mut Vec<u8>, argument: &Argument) -> Result<(), EncodeError> {
    match argument {
        Argument::Int(int) => bytes.extend(int.to_be_bytes()),
        Argument::Long(long) => bytes.extend(long.to_be_bytes()),
        Argument::Float(float) => bytes.extend(float.to_be_bytes()),
        Argument::Double(double) => bytes.extend(double.to_be_bytes()),
        Argument::String(text) | Argument::Symbol(text) => write_string(bytes, text)?,
        Argument::Blob(blob) => {
            bytes.extend(size(blob.len())?);
            bytes.extend(blob);
            bytes.resize(bytes.len() + blob.len().next_multiple_of(4) - blob.len(), 0);
        }
        Argument::TimeTag(tag) => bytes.extend(tag.0.to_be_bytes()),
        Argument::Char(char) => bytes.extend(u32::from(*char).to_be_bytes()),
        Argument::Color(four) | Argument::Midi(four) => bytes.extend(four),
        Argument::True
        | Argument::False
        | Argument::Nil
        | Argument::Impulse
        | Argument::Array(_) => {}
    }
    Ok(())
}

fn write_string(bytes: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    if text.contains('\0') {
        return Err(EncodeError::Zero);
    }
    bytes.extend(text.as_bytes());
    pad_string(bytes, text.len());
    Ok(())
}

/// Ends a string of so many bytes with one to four zeros.
fn pad_string(bytes: &mut Vec<u8>, length: usize) {
    bytes.resize(bytes.len() + 4 - length % 4, 0);
}

fn size(length: usize) -> Result<[u8; 4], EncodeError> {
    // Readers use int32 for it.
    i32::try_from(length).map(i32::to_be_bytes).map_err(|_| EncodeError::Size)
}
