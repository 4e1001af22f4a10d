//! Characters that do something rather than show something.

/// Whether a character can move a cursor, set a clipboard, end a line, hide text or reorder it: C0 and C1 controls with line
/// breaks and tabs, DEL, marks of direction, separators of lines, the byte order mark, tags.
#[must_use]
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}
