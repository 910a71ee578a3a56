//! Columns while rows come in: datums to typed vectors. Callers: [`super::receiver`], [`super::store`].

use super::datum::{ArrayView, TextArray, Value as _};
use super::error::{Error, Result};
use super::memory::LARGE;
use super::pictures::{Incoming, TempFile};
use super::reader::{Element, Reader, date, time, uuid, without_padding};
use super::shim::raw;
use engine::Kind;
use engine::fingerprint::text_hash;
use engine::frame::{Column, Data, Dictionary};
use engine::labels;
use pgrx::pg_sys::Datum;

/// What a dictionary's string takes beyond its bytes, which it holds twice.
const STRING_OVERHEAD: u64 = 80;

/// A column being read: what of it the main thread needs. Staged values are stored by [`super::store`].
pub(super) struct Building {
    /// Its name, its dictionary without codes, its vectors or byte strings.
    pub column: Column,
    pub reader: Reader,
    /// Its position in the source's rows.
    pub position: usize,
    /// Its offset in a staged row.
    pub offset: usize,
    /// Rows of a vector that were NULL before its width was known.
    pub unknown: usize,
    /// Labels seen of an enum.
    pub labels: Vec<(u32, u32)>,
    /// Texts whose hashes were asked for.
    pub hashed: usize,
    /// Its images, where they are decoded as they come.
    pub images: Option<Incoming>,
}

/// A staged column.
#[derive(Clone, Copy)]
pub(super) struct Staged<'a> {
    /// All staged rows.
    pub stage: &'a [u8],
    /// Bytes of one.
    pub stride: usize,
    /// The column's offset in each.
    pub offset: usize,
    /// How many there are.
    pub rows: usize,
}

impl Staged<'_> {
    #[inline(always)]
    fn values<T: Copy>(self) -> impl ExactSizeIterator<Item = T> {
        let end = self.rows.saturating_sub(1) * self.stride + self.offset + size_of::<T>();
        assert!(self.rows == 0 || end <= self.stage.len(), "a stage ends before its rows");
        // SAFETY: the last row's value lies within the stage, and those before it too; any bits are one.
        (0..self.rows).map(move |i| unsafe {
            self.stage.as_ptr().add(i * self.stride + self.offset).cast::<T>().read_unaligned()
        })
    }
}

/// What can be wrong with one value.
pub(super) enum Fault {
    Uneven {
        found: usize,
        expected: usize,
    },
    Empty,
    Infinite,
    NotUtf8,
    TooManyStrings,
    NullLabel,
    /// The image of this row, from 0, is none.
    Image(usize, Error),
    /// Images cannot be kept.
    Unkept(Error),
}

impl Fault {
    /// The error, at a row that counts from 1.
    pub fn into_error(self, column: &str, row: Option<usize>) -> Error {
        let row = row.map(|r| format!(", row {r}")).unwrap_or_default();
        let at = format!("column \"{column}\"{row}");
        match self {
            Fault::Uneven { found, expected } => Error::new(
                Kind::Data,
                format!("{at}: the array has {found} elements, but those before it have {expected}"),
            )
            .hint("All arrays of a column must be of one length."),
            Fault::Empty => Error::new(Kind::Data, format!("{at}: the array is empty"))
                .hint("Make it NULL, or leave the row out."),
            Fault::Infinite => Error::new(Kind::Data, format!("{at}: the time is infinite or out of range"))
                .hint(format!("Make it NULL, for example with NULLIF({column}, 'infinity').")),
            Fault::NotUtf8 => Error::new(Kind::Data, format!("{at}: the text is not valid UTF-8")),
            Fault::NullLabel => {
                Error::new(Kind::Null, format!("{at}: the array has a NULL among its labels"))
                    .hint(format!("Leave it out: array_remove({column}, NULL)."))
            }
            Fault::Image(row, e) => {
                let message = format!("column \"{column}\": {}", e.message);
                Error { message, ..e }.detail(format!("Row {} of the source.", row + 1))
            }
            Fault::Unkept(e) => e,
            Fault::TooManyStrings => Error::new(Kind::Data, format!("{at}: too many different texts")),
        }
    }
}

impl Building {
    /// Reads a datum that is not its own staged value; gives the bytes that it takes beyond its code.
    ///
    /// SAFETY: the datum is of the column's type, and `to` has room for a staged value.
    pub unsafe fn convert(&mut self, datum: Datum, to: *mut u8) -> std::result::Result<u64, Fault> {
        // SAFETY: the caller's promise; strings and arrays live until the scratch context is reset.
        unsafe {
            let mut len = 0;
            let text: &[u8] = match self.reader {
                Reader::Numeric => {
                    to.cast::<f64>().write_unaligned(raw::damson_numeric(datum));
                    return Ok(0);
                }
                Reader::Vector(element) => return self.push_vector(datum, element),
                Reader::Bytes => {
                    let data = raw::damson_bytes(datum, &mut len);
                    if let Some(images) = &mut self.images {
                        let image = std::slice::from_raw_parts(data.cast(), len);
                        images.push(image).map_err(|(row, e)| Fault::Image(row, e))?;
                        return images.settle().map_err(Fault::Unkept).map(|()| 0);
                    }
                    let Data::Bytes { ends, bytes } = &mut self.column.data else { return Ok(0) };
                    bytes.extend_from_slice(std::slice::from_raw_parts(data.cast(), len));
                    ends.push(bytes.len());
                    return Ok(len as u64);
                }
                Reader::Labels => return self.push_labels(datum, to),
                Reader::Enum => {
                    let oid = datum.value() as u32;
                    if let Some((_, code)) = self.labels.iter().find(|(o, _)| *o == oid) {
                        to.cast::<u32>().write_unaligned(*code);
                        return Ok(0);
                    }
                    let data = raw::damson_enum(datum, &mut len);
                    std::slice::from_raw_parts(data.cast(), len)
                }
                Reader::Name => {
                    let data = raw::damson_utf8(datum.cast_mut_ptr(), &mut len);
                    std::slice::from_raw_parts(data.cast(), len)
                }
                Reader::Char => &[datum.value() as u8],
                Reader::Uuid => &uuid(&*datum.cast_mut_ptr::<[u8; 16]>()),
                _ => {
                    let data = raw::damson_text(datum, &mut len);
                    let text = std::slice::from_raw_parts(data.cast(), len);
                    if self.reader == Reader::Padded { without_padding(text) } else { text }
                }
            };
            let text = std::str::from_utf8(text).map_err(|_| Fault::NotUtf8)?;
            let Data::Text(dictionary) = &mut self.column.data else { return Ok(0) };
            let before = dictionary.values.len();
            let code = dictionary.intern(text);
            if code == Dictionary::MISSING {
                return Err(Fault::TooManyStrings);
            }
            to.cast::<u32>().write_unaligned(code);
            if self.reader == Reader::Enum {
                self.labels.push((datum.value() as u32, code));
            }
            let new = dictionary.values.len() > before;
            Ok(if new { 2 * text.len() as u64 + STRING_OVERHEAD } else { 0 })
        }
    }

    /// SAFETY: the datum is an array of text, and `to` has room for a code.
    unsafe fn push_labels(&mut self, datum: Datum, to: *mut u8) -> std::result::Result<u64, Fault> {
        let Data::Labels(dictionary) = &mut self.column.data else { return Ok(0) };
        // SAFETY: the caller's promise. What the server raises here unwinds, so that what is held is dropped.
        let labels = unsafe { TextArray::read(datum) };
        let labels: Option<Vec<&str>> = labels.0.iter().map(Option::as_deref).collect();
        let name = labels::name(labels.ok_or(Fault::NullLabel)?);
        let before = dictionary.values.len();
        let code = dictionary.intern(&name);
        if code == Dictionary::MISSING {
            return Err(Fault::TooManyStrings);
        }
        // SAFETY: the caller's promise.
        unsafe { to.cast::<u32>().write_unaligned(code) };
        let new = dictionary.values.len() > before;
        Ok(if new { 2 * name.len() as u64 + STRING_OVERHEAD } else { 0 })
    }

    /// SAFETY: the datum is an array of such elements.
    unsafe fn push_vector(&mut self, datum: Datum, element: Element) -> std::result::Result<u64, Fault> {
        let Data::Vector { width, values } = &mut self.column.data else { return Ok(0) };
        let mut view = ArrayView::EMPTY;
        // SAFETY: the caller's promise.
        unsafe { raw::damson_array(datum, &mut view) };
        let count = view.count as usize;
        let known = *width > 0;
        if count == 0 {
            return Err(Fault::Empty);
        }
        if known && count != *width {
            return Err(Fault::Uneven { found: count, expected: *width });
        }
        let before = values.len();
        *width = count;
        values.resize(before + self.unknown * count, f32::NAN);
        self.unknown = 0;
        // SAFETY: the view is of elements of this type.
        unsafe {
            match element {
                Element::F32 => view.extend::<f32, _>(values, |x| x),
                Element::F64 => view.extend::<f64, _>(values, |x| x as f32),
                Element::I16 => view.extend::<i16, _>(values, f32::from),
                Element::I32 => view.extend::<i32, _>(values, |x| x as f32),
                Element::I64 => view.extend::<i64, _>(values, |x| x as f32),
            }
        }
        Ok(4 * (values.len() - before) as u64)
    }

    /// A NULL in a column whose values are not staged; the others are marked when the stage is flushed.
    pub fn push_null(&mut self) {
        if let Some(images) = &mut self.images {
            return images.push_missing();
        }
        match &mut self.column.data {
            Data::Vector { width: 0, .. } => self.unknown += 1,
            Data::Vector { width, values } => values.resize(values.len() + *width, f32::NAN),
            Data::Bytes { ends, bytes } => ends.push(bytes.len()),
            _ => {}
        }
    }

    /// The column, when all rows are in, and the file that it is kept in, if any; `stored` has its staged values.
    ///
    /// # Errors
    /// Those of keeping images.
    pub fn into_column(mut self, mut stored: Column, rows: usize) -> Result<(Column, Option<TempFile>)> {
        let mut file = None;
        if let Some(images) = self.images.take() {
            (self.column.data, file) = images.finish()?;
        }
        match (self.column.data, &mut stored.data) {
            (Data::Text(mut own), Data::Text(codes)) | (Data::Labels(mut own), Data::Labels(codes)) => {
                own.codes = std::mem::take(&mut codes.codes);
                *codes = own;
            }
            (own @ (Data::Vector { .. } | Data::Bytes { .. } | Data::Images(_)), stored) => *stored = own,
            _ => {}
        }
        if !stored.missing.is_empty() {
            stored.missing.resize(rows, false);
        }
        shrink(&mut stored.data);
        Ok((stored, file))
    }

    /// Hashes of the texts that came up since this was last asked.
    pub fn new_texts(&mut self) -> impl Iterator<Item = u64> {
        let texts = match &self.column.data {
            Data::Text(dictionary) | Data::Labels(dictionary) => &dictionary.values[self.hashed..],
            _ => &[],
        };
        self.hashed += texts.len();
        texts.iter().map(|t| text_hash(t))
    }
}

/// Appends staged values; the number of a staged row whose time cannot be held is an error.
pub(super) fn append(column: &mut Column, reader: Reader, staged: Staged) -> std::result::Result<(), usize> {
    let mut bad = None;
    match (&mut column.data, reader) {
        (Data::F32(v), _) => v.extend(staged.values::<f32>()),
        (Data::F64(v), _) => v.extend(staged.values::<f64>()),
        (Data::I32(v), Reader::I16) => v.extend(staged.values::<i16>().map(i32::from)),
        (Data::I32(v), _) => v.extend(staged.values::<i32>()),
        (Data::I64(v), _) => v.extend(staged.values::<i64>()),
        (Data::Bool(v), _) => v.extend(staged.values::<u8>()),
        (Data::Text(d) | Data::Labels(d), _) => d.codes.extend(staged.values::<u32>()),
        (Data::Time(v), Reader::Date) => {
            for (i, days) in staged.values::<i32>().enumerate() {
                v.push(date(days).unwrap_or_else(|| {
                    bad.get_or_insert(i);
                    i64::MIN
                }));
            }
        }
        (Data::Time(v), _) => {
            v.extend(staged.values::<i64>());
            bad = staged.values::<i64>().position(|t| time(t).is_none());
        }
        (Data::Vector { .. } | Data::Bytes { .. } | Data::Images(_) | Data::Away { .. }, _) => {}
    }
    bad.map_or(Ok(()), Err)
}

/// Makes a value that is in a column already a missing one.
pub(super) fn mark(column: &mut Column, at: usize) {
    match &mut column.data {
        Data::F32(v) => v[at] = f32::NAN,
        Data::F64(v) => v[at] = f64::NAN,
        Data::Bool(v) => v[at] = 2,
        Data::Time(v) => v[at] = i64::MIN,
        Data::Text(d) | Data::Labels(d) => d.codes[at] = Dictionary::MISSING,
        Data::Vector { .. } | Data::Away { .. } => {}
        Data::I32(_) | Data::I64(_) | Data::Bytes { .. } | Data::Images(_) => {
            column.missing.resize(at, false);
            column.missing.push(true);
        }
    }
}

/// What elements of arrays become.
pub(super) trait Float {
    /// Not a number.
    const MISSING: Self;
}

impl Float for f32 {
    const MISSING: f32 = f32::NAN;
}

impl Float for f64 {
    const MISSING: f64 = f64::NAN;
}

impl ArrayView {
    /// Appends the elements; NULL becomes NaN.
    ///
    /// # Safety
    /// The view is of a living array of `T`.
    pub(super) unsafe fn extend<T: Copy, N: Float>(&self, values: &mut Vec<N>, number: impl Fn(T) -> N) {
        let mut next = self.data.cast::<T>();
        // SAFETY: elements that are not NULL lie one after another.
        let element = |i| unsafe {
            if self.is_null(i) {
                return N::MISSING;
            }
            let value = next.read_unaligned();
            next = next.add(1);
            number(value)
        };
        values.extend((0..self.count as usize).map(element));
    }
}

/// Room for so many rows in all, in a column whose rows are stored one by one.
pub(super) fn make_room(column: &mut Column, rows: usize) {
    fn reserve<T>(values: &mut Vec<T>, rows: usize) {
        if rows.saturating_mul(size_of::<T>()) >= LARGE {
            // Room that is not to be had now may be had later, or is never needed.
            let _ = values.try_reserve_exact(rows.saturating_sub(values.len()));
        }
    }
    match &mut column.data {
        Data::F32(v) => reserve(v, rows),
        Data::F64(v) => reserve(v, rows),
        Data::I32(v) => reserve(v, rows),
        Data::I64(v) | Data::Time(v) => reserve(v, rows),
        Data::Bool(v) => reserve(v, rows),
        Data::Text(d) | Data::Labels(d) => reserve(&mut d.codes, rows),
        Data::Vector { .. } | Data::Bytes { .. } | Data::Images(_) | Data::Away { .. } => {}
    }
}

/// Gives back what growing took too much.
fn shrink(data: &mut Data) {
    match data {
        Data::F32(v) => v.shrink_to_fit(),
        Data::F64(v) => v.shrink_to_fit(),
        Data::I32(v) => v.shrink_to_fit(),
        Data::I64(v) | Data::Time(v) => v.shrink_to_fit(),
        Data::Bool(v) => v.shrink_to_fit(),
        Data::Text(d) | Data::Labels(d) => d.codes.shrink_to_fit(),
        Data::Vector { values, .. } => values.shrink_to_fit(),
        Data::Bytes { ends, bytes } => {
            ends.shrink_to_fit();
            bytes.shrink_to_fit();
        }
        Data::Images(_) | Data::Away { .. } => {}
    }
}
