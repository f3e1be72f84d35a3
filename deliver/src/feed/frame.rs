//! Server-sent events on the wire, <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use bytes::Bytes;

/// An event: its id, its type, and its data in as many lines as it has.
pub(super) fn event(id: u64, kind: &str, data: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(data.len() + kind.len() + 48);
    frame.extend_from_slice(format!("id: {id}\nevent: {}\n", one_line(kind)).as_bytes());
    lines(&mut frame, data);
    frame.push(b'\n');
    frame.into()
}

/// Moves the reader's place, and keeps the connection alive: without data no event is seen.
pub(super) fn place(id: u64) -> Bytes {
    format!("id: {id}\n\n").into()
}

/// Said before the stream is ended.
pub(super) fn last_words(kind: &str, data: &[u8]) -> Bytes {
    let mut frame = format!("event: {kind}\n").into_bytes();
    lines(&mut frame, data);
    frame.push(b'\n');
    frame.into()
}

/// Line breaks of any kind end a line; in JSON they can only be blanks between its tokens.
fn lines(frame: &mut Vec<u8>, data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        frame.extend_from_slice(b"data: ");
        frame.extend_from_slice(line);
        frame.push(b'\n');
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_several_lines_stays_one_event() {
        let frame = event(7, "github:push", b"{\r\n \"a\": 1\n}");
        assert_eq!(frame, "id: 7\nevent: github:push\ndata: {\ndata: \ndata:  \"a\": 1\ndata: }\n\n");
    }

    #[test]
    fn a_type_cannot_begin_a_field_of_its_own() {
        assert_eq!(event(1, "a\ndata: b", b"{}"), "id: 1\nevent: adata: b\ndata: {}\n\n");
    }

    #[test]
    fn a_place_alone_is_no_event() {
        assert_eq!(place(9), "id: 9\n\n");
    }
}
