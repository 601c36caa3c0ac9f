//! Tables, and text that fits.

/// Rows below titles.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    /// To the left, and cut where there is no room.
    Flexible,
    /// The same, but cut at its beginning: what tells keys apart stands at their end.
    Tail,
}

/// A column of words.
pub(crate) fn left(title: &'static str) -> Column {
    Column { title, side: Side::Left }
}

/// A column of numbers.
pub(crate) fn right(title: &'static str) -> Column {
    Column { title, side: Side::Right }
}

/// A column of words that may be long.
pub(crate) fn flexible(title: &'static str) -> Column {
    Column { title, side: Side::Flexible }
}

/// A column of words that may be long, and matter most at their end.
pub(crate) fn tail(title: &'static str) -> Column {
    Column { title, side: Side::Tail }
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), indent: 0 }
    }

    pub(crate) fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The titles, then the rows, not longer than the width if there is one.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let widths = self.widths(width);
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        [&titles].into_iter().chain(&self.rows).map(|cells| self.line(cells, &widths)).collect()
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let widest = |(number, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(number)).map(|cell| measure(cell));
            cells.chain([measure(column.title)]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let Some(width) = width else { return widths };
        // What is too much is taken from the widest of the columns that may be cut.
        let room = width.saturating_sub(self.indent + GAP * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let flexible = widths.iter().enumerate().filter(|(number, width)| {
                matches!(self.columns[*number].side, Side::Flexible | Side::Tail) && **width > NARROWEST
            });
            let Some(number) = flexible.max_by_key(|(_, width)| **width).map(|(number, _)| number) else { break };
            widths[number] -= 1;
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = " ".repeat(self.indent);
        for (number, ((column, cell), width)) in self.columns.iter().zip(cells).zip(widths).enumerate() {
            if number > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = if column.side == Side::Tail { cut_front(cell, *width) } else { cut(cell, *width) };
            let space = " ".repeat(width.saturating_sub(measure(&cell)));
            match column.side {
                Side::Right => line.push_str(&(space + &cell)),
                Side::Left | Side::Flexible | Side::Tail => line.push_str(&(cell + &space)),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// How many columns of a terminal it takes.
fn measure(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The text with nothing in it that a terminal would obey: whoever made a tag or a key is not to draw on it.
pub(crate) fn clean(text: &str) -> String {
    let is_odd = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut cleaned = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_odd(letter) { cleaned.extend(letter.escape_unicode()) } else { cleaned.push(letter) }
    }
    cleaned
}

/// The beginning of a text, as much as there is room for.
fn cut(text: &str, width: usize) -> String {
    let text = text.replace('\n', " ");
    if measure(&text) <= width {
        return text;
    }
    let (mut short, mut taken) = (String::new(), 0);
    for letter in text.chars() {
        taken += measure(letter.encode_utf8(&mut [0; 4]));
        if taken + 1 > width {
            break;
        }
        short.push(letter);
    }
    short.push('…');
    short
}

/// The end of a text, as much as there is room for.
fn cut_front(text: &str, width: usize) -> String {
    let mut rest = text;
    while measure(rest) + usize::from(rest.len() < text.len()) > width {
        let mut letters = rest.chars();
        if letters.next().is_none() {
            break;
        }
        rest = letters.as_str();
    }
    if rest.len() < text.len() { format!("…{rest}") } else { text.to_owned() }
}

/// A text in lines; what is longer than a line stays whole.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && measure(&line) + 1 + measure(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Between two columns.
const GAP: usize = 2;

/// No column is cut to less.
const NARROWEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new([left("NAME"), right("SIZE"), flexible("KEY")]);
        table.row(["a", "1 KiB", "short"].map(str::to_owned));
        table.row(["löng", "12 B", &"k".repeat(30)].map(str::to_owned));
        assert_eq!(table.lines(None)[..2], ["NAME   SIZE  KEY", "a     1 KiB  short"]);
        let narrow = table.lines(Some(28));
        assert_eq!(narrow[2], format!("löng   12 B  {}…", "k".repeat(14)));
        assert!(narrow.iter().all(|line| measure(line) <= 28));
        // There is a limit to that.
        assert_eq!(measure(&table.lines(Some(1))[2]), 4 + 2 + 5 + 2 + NARROWEST);
    }

    #[test]
    fn what_matters_most_stays() {
        let mut table = Table::new([tail("KEY")]);
        table.row(["shop:v1:GET:/products/7".to_owned()]);
        assert_eq!(table.lines(Some(12))[1], "…/products/7");
        assert_eq!(cut_front("äöü", 2), "…ü");
        assert_eq!(cut_front("äöü", 3), "äöü");
        assert_eq!(cut_front("ä", 0), "…");
    }

    #[test]
    fn nobody_draws_on_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}\rc"), "a\\u{1b}[2Jb\\u{202e}\\u{d}c");
        let mut table = Table::new([flexible("TAG")]);
        table.row(["x\ny".to_owned()]);
        assert_eq!(table.lines(None)[1], "x y");
    }

    #[test]
    fn lines_are_wrapped() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("onetwothree four", 7), ["onetwothree", "four"]);
        assert_eq!(wrapped("a\n\nb", 7), ["a", "", "b"]);
        assert!(wrapped("", 7).is_empty());
    }
}
