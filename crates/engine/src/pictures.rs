//! Images of a frame, decoded once, as the rows come: in memory, or outside of it where they have no room there.
//!
//! Whoever reads rows makes a [`Decoder`] for the column, which says when memory no longer serves, and moves what was decoded
//! into a [`Store`], such as a temporary file. Training comes back for single images, in any order and from many threads
//! ([`nn::data::Images`]), so an epoch's order is the same wherever they are, and so is the model.

use crate::algorithms;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::bytes_hash;
use crate::frame::Data;
use crate::learner::Input;
use crate::params::Values;
use crate::prepare::image;
use crate::prepare::options::Options;
use crate::schema::{ImageShape, Schema, Task};
use crate::train::{Forecast, Request};
use std::fmt::Debug;
use std::sync::Arc;

/// Bytes that a decoder keeps room for once others were moved.
const SMALL: usize = 4 << 20;

/// Bytes outside of memory. Many threads read them at once.
pub trait Store: Debug + Send + Sync {
    /// Reads the bytes from `at` on.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, at: u64, into: &mut [u8]) -> std::io::Result<()>;

    /// Says that so many bytes from `at` on will be read soon.
    fn expect(&self, at: u64, bytes: u64);
}

#[derive(Debug)]
enum Pixels {
    Held(Vec<u8>),
    Stored(Box<dyn Store>),
}

/// Images of one shape, by row.
#[derive(Debug)]
pub struct Pictures {
    shape: ImageShape,
    /// Of each image as it came, for the digest of rows; 0 where there is none.
    hashes: Vec<u64>,
    pixels: Pixels,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    of: &'a Pictures,
    row: usize,
}

/// Pictures with the row of each image of a block, lent to a learner that comes back for them.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Those of all rows.
    pub pictures: &'a Arc<Pictures>,
    /// The block's rows.
    pub rows: &'a [u32],
}

impl Pictures {
    /// Rows, with an image or without.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Bytes that they take in memory.
    pub fn bytes(&self) -> u64 {
        8 * self.hashes.len() as u64 + self.held().len() as u64
    }

    /// The pixels, where they are in memory: row by row.
    pub fn held(&self) -> &[u8] {
        match &self.pixels {
            Pixels::Held(pixels) => pixels,
            Pixels::Stored(_) => &[],
        }
    }

    /// Forgets the pixels, which a store has now.
    pub fn move_to(&mut self, store: Box<dyn Store>) {
        self.pixels = Pixels::Stored(store);
    }

    /// The image of a row.
    pub(crate) fn at(&self, row: usize) -> Picture<'_> {
        Picture { of: self, row }
    }

    fn read(&self, row: usize, into: &mut [u8]) -> std::io::Result<()> {
        let at = row * into.len();
        match &self.pixels {
            Pixels::Held(pixels) => {
                into.copy_from_slice(&pixels[at..at + into.len()]);
                Ok(())
            }
            Pixels::Stored(store) => store.read(at as u64, into),
        }
    }
}

fn unread(e: &std::io::Error) -> String {
    format!("the temporary file of the images cannot be read: {e}")
}

impl nn::data::Images for Pictures {
    fn size(&self) -> usize {
        self.shape.bytes()
    }

    fn image<'a>(&'a self, number: u32, space: &'a mut Vec<u8>) -> std::result::Result<&'a [u8], nn::Error> {
        let (row, size) = (number as usize, self.shape.bytes());
        if let Pixels::Held(pixels) = &self.pixels {
            return Ok(&pixels[row * size..(row + 1) * size]);
        }
        space.resize(size, 0);
        self.read(row, space).map_err(|e| nn::Error::Read(unread(&e)))?;
        Ok(space)
    }

    fn expect(&self, numbers: &mut dyn Iterator<Item = u32>) {
        if let Pixels::Stored(store) = &self.pixels {
            let size = self.shape.bytes() as u64;
            numbers.for_each(|number| store.expect(u64::from(number) * size, size));
        }
    }
}

impl PartialEq for Picture<'_> {
    /// Whether both were made of the same bytes.
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Picture<'_> {
    /// Its shape.
    pub fn shape(&self) -> ImageShape {
        self.of.shape
    }

    /// The hash of the bytes that it was decoded from.
    pub(crate) fn hash(&self) -> u64 {
        self.of.hashes[self.row]
    }

    /// Writes its pixels.
    ///
    /// # Errors
    /// `Kind::Data` where `into` is for images of another shape; `Kind::Internal` where it cannot be read.
    pub(crate) fn copy(&self, shape: ImageShape, into: &mut [u8]) -> Result<()> {
        let found = self.of.shape;
        if found != shape {
            let ImageShape { height, width, channels } = shape;
            let message = format!(
                "image is {}x{}x{}, expected {height}x{width}x{channels}",
                found.height, found.width, found.channels
            );
            return Err(Error::new(Kind::Data, message));
        }
        self.of.read(self.row, into).map_err(|e| Error::new(Kind::Internal, unread(&e)))
    }
}

/// Decodes the images of a column as its rows come.
pub struct Decoder {
    request: Request,
    values: Values,
    shape: Option<ImageShape>,
    channels_first: bool,
    /// Rows that are expected.
    expected: usize,
    /// Bytes that decoded images may take in memory; known once the shape is.
    room: u64,
    /// Images that came before one told its shape, as they came.
    ends: Vec<usize>,
    waiting: Vec<u8>,
    missing: Vec<bool>,
    hashes: Vec<u64>,
    /// Decoded images that were not moved to a store.
    pixels: Vec<u8>,
    moved: bool,
}

impl Decoder {
    /// For the only column of images of a source with about so many rows; none for an algorithm that learns from none.
    ///
    /// # Errors
    /// Those of the algorithm's name, its parameters and the options of preprocessing.
    pub fn new(request: &Request, expected: usize) -> Result<Option<Decoder>> {
        let algorithm = algorithms::find(&request.algorithm)?;
        let info = algorithm.info();
        if info.input != Input::Image {
            return Ok(None);
        }
        let values = Values::parse(info.name, info.params, &request.params)?;
        let options = Options::parse(&request.preprocess, info.input)?;
        let (shape, channels_first) = match &request.init_model {
            Some(init) => match init.prepared.raw_images() {
                Some((shape, channels_first)) => (Some(shape), channels_first),
                // Then images are not what it learns from.
                None => return Ok(None),
            },
            None => (options.shape()?, options.channels_first()?),
        };
        let mut decoder = Decoder {
            request: request.clone(),
            values,
            shape: None,
            channels_first,
            expected,
            room: u64::MAX,
            ends: vec![],
            waiting: vec![],
            missing: vec![],
            hashes: vec![],
            pixels: vec![],
            moved: false,
        };
        shape.map_or(Ok(()), |shape| decoder.learn(shape))?;
        Ok(Some(decoder))
    }

    fn learn(&mut self, shape: ImageShape) -> Result<()> {
        self.shape = Some(shape);
        let least = |rows| least(&self.request, &self.values, shape, rows);
        if let Some(needed) = least(0) {
            needed.check(self.request.max_memory)?;
        }
        let beside = least(self.expected).map_or(0, |needed| needed.bytes());
        self.room = self.request.max_memory.saturating_sub(beside);
        Ok(())
    }

    /// Takes the image of the next row.
    ///
    /// # Errors
    /// `Kind::Data` for bytes that are not an image of the column's shape, with the row, from 0.
    pub fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), (usize, Error)> {
        let row = self.hashes.len();
        self.hashes.push(bytes_hash(bytes));
        if self.shape.is_none() {
            match image::shape(bytes).map_err(|e| (row, e))? {
                Some(shape) => self.learn(shape).map_err(|e| (row, e))?,
                None => {
                    self.waiting.extend_from_slice(bytes);
                    self.ends.push(self.waiting.len());
                    self.missing.push(false);
                    return Ok(());
                }
            }
            self.decode_waiting()?;
        }
        self.decode(bytes).map_err(|e| (row, e))
    }

    /// Notes that the next row has none.
    pub fn push_missing(&mut self) {
        self.hashes.push(0);
        match self.shape {
            Some(shape) => self.pixels.resize(self.pixels.len() + shape.bytes(), 0),
            None => {
                self.ends.push(self.waiting.len());
                self.missing.push(true);
            }
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(shape) = self.shape else { return Ok(()) };
        let at = self.pixels.len();
        self.pixels.resize(at + shape.bytes(), 0);
        image::decode(bytes, shape, self.channels_first, &mut self.pixels[at..])
    }

    fn decode_waiting(&mut self) -> std::result::Result<(), (usize, Error)> {
        let (ends, waiting) = (std::mem::take(&mut self.ends), std::mem::take(&mut self.waiting));
        let missing = std::mem::take(&mut self.missing);
        let size = self.shape.map_or(0, |s| s.bytes());
        let mut start = 0;
        for (row, (end, missing)) in ends.into_iter().zip(missing).enumerate() {
            if missing {
                self.pixels.resize(self.pixels.len() + size, 0);
            } else {
                self.decode(&waiting[start..end]).map_err(|e| (row, e))?;
            }
            start = end;
        }
        Ok(())
    }

    /// Bytes of images that are in memory.
    pub fn bytes(&self) -> u64 {
        (self.pixels.len() + self.waiting.len()) as u64
    }

    /// Whether decoded images are to be moved to a store, because all of them will not have room in memory.
    pub fn overflows(&self) -> bool {
        let size = self.shape.map_or(0, |s| s.bytes() as u64);
        self.moved || self.bytes().max(self.expected as u64 * size) > self.room
    }

    /// Decoded images that are not in a store, one after another; they are forgotten when they were moved there.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Forgets the decoded images, which a store has now.
    pub fn moved(&mut self) {
        self.moved = true;
        if self.pixels.capacity() > SMALL {
            self.pixels = vec![];
        }
        self.pixels.clear();
    }

    /// All of them, when no rows follow; `store` is where they were moved to, and the last ones too. Where none told its
    /// shape, they are bytes as any others.
    pub fn finish(mut self, store: Option<Box<dyn Store>>) -> Data {
        let Some(shape) = self.shape else {
            return Data::Bytes { ends: self.ends, bytes: self.waiting };
        };
        self.hashes.shrink_to_fit();
        self.pixels.shrink_to_fit();
        let pixels = store.map_or(Pixels::Held(self.pixels), Pixels::Stored);
        Data::Images(Arc::new(Pictures { shape, hashes: self.hashes, pixels }))
    }
}

/// What a training takes beside the images at the least, as far as that can be told before its target is known; nothing
/// where its parameters fit no target, which others say.
fn least(request: &Request, values: &Values, shape: ImageShape, rows: usize) -> Option<Forecast> {
    let algorithm = algorithms::find(&request.algorithm).ok()?;
    [Task::Classification, Task::Regression, Task::Multilabel].into_iter().find_map(|task| {
        let classes = if task == Task::Regression { 0 } else { 2 };
        let schema = Schema { image: Some(shape), ..Schema::numeric(0, task, classes, rows) };
        Some(Forecast(algorithm.memory_parts(values, &schema, request.threads).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::digest;
    use crate::frame::{Column, Frame};
    use nn::data::Images as _;

    #[derive(Debug)]
    struct Elsewhere(Vec<u8>);

    impl Store for Elsewhere {
        fn read(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
            let bytes = self.0.get(at as usize..at as usize + into.len());
            into.copy_from_slice(bytes.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn expect(&self, _at: u64, _bytes: u64) {}
    }

    fn request(max_memory: u64, preprocess: &str) -> Request {
        let preprocess = preprocess.into();
        let params = r#"{"architecture": "lenet", "batch_size": 1}"#.into();
        Request { algorithm: "cnn".into(), params, preprocess, max_memory, ..Request::default() }
    }

    const SHAPE: ImageShape = ImageShape { height: 12, width: 12, channels: 1 };

    fn raw(row: usize) -> Vec<u8> {
        (0..SHAPE.bytes()).map(|i| (i * 7 + row * 31) as u8).collect()
    }

    fn png(row: usize) -> Vec<u8> {
        let mut bytes = vec![];
        let picture = ::image::GrayImage::from_raw(12, 12, raw(row)).unwrap();
        let format = ::image::ImageFormat::Png;
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    /// Decodes images, moving them as a server does.
    fn decode(mut decoder: Decoder, images: &[Option<Vec<u8>>]) -> (Data, bool) {
        let mut store = vec![];
        for image in images {
            match image {
                Some(bytes) => decoder.push(bytes).unwrap(),
                None => decoder.push_missing(),
            }
            if decoder.overflows() {
                store.extend_from_slice(decoder.pixels());
                decoder.moved();
            }
        }
        let moved = !store.is_empty();
        (decoder.finish(moved.then(|| Box::new(Elsewhere(store)) as Box<dyn Store>)), moved)
    }

    fn pictures(data: &Data) -> &Pictures {
        match data {
            Data::Images(pictures) => pictures,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn images_are_the_same_in_memory_and_in_a_store() {
        let images: Vec<_> = (0..40).map(|i| Some(if i % 3 == 0 { png(i) } else { raw(i) })).collect();
        let decoder = |max_memory| Decoder::new(&request(max_memory, "{}"), 10).unwrap().unwrap();
        let (held, moved) = decode(decoder(u64::MAX), &images);
        assert!(!moved);
        let network = least(&request(0, "{}"), &values(), SHAPE, 10).unwrap().bytes();
        let (stored, moved) = decode(decoder(network), &images);
        assert!(moved);
        let (held, stored) = (pictures(&held), pictures(&stored));
        assert_eq!((held.shape(), held.len()), (SHAPE, 40));
        assert_eq!(held.bytes() - stored.bytes(), 40 * SHAPE.bytes() as u64);
        for row in [0, 1, 17, 39] {
            let (mut a, mut b) = (vec![], vec![]);
            assert_eq!(held.image(row as u32, &mut a).unwrap(), raw(row));
            assert_eq!(stored.image(row as u32, &mut b).unwrap(), raw(row));
            assert_eq!(held.at(row), stored.at(row));
        }
        assert!(stored.image(40, &mut vec![]).unwrap_err().to_string().contains("cannot be read"));
        let other = ImageShape { channels: 3, ..SHAPE };
        assert_eq!(held.at(0).copy(other, &mut vec![0; other.bytes()]).unwrap_err().kind, Kind::Data);
    }

    #[test]
    fn images_go_to_a_store_as_soon_as_they_will_not_have_room() {
        let network = |rows| least(&request(0, "{}"), &values(), SHAPE, rows).unwrap().bytes();
        let some = 5 * SHAPE.bytes() as u64;
        let declared = r#"{"image": [12, 12, 1]}"#;
        let mut early = Decoder::new(&request(network(10) + some, declared), 10).unwrap().unwrap();
        assert!(early.overflows());
        // More come than were expected.
        early = Decoder::new(&request(network(3) + some, declared), 3).unwrap().unwrap();
        let full: Vec<bool> = (0..8)
            .map(|i| {
                early.push(&raw(i)).unwrap();
                early.overflows()
            })
            .collect();
        assert_eq!(full, [false, false, false, false, false, true, true, true]);
        early.moved();
        assert!(early.overflows() && early.pixels().is_empty());
    }

    #[test]
    fn what_never_has_room_is_refused_before_an_image_is_kept() {
        let declared = Decoder::new(&request(1000, r#"{"image": [12, 12, 1]}"#), 10).err().unwrap();
        assert_eq!(declared.kind, Kind::Memory);
        assert!(declared.detail.unwrap().contains("weights"));
        let mut told = Decoder::new(&request(1000, "{}"), 10).unwrap().unwrap();
        told.push(&raw(0)).unwrap();
        assert_eq!(told.push(&png(1)).unwrap_err().1.kind, Kind::Memory);
    }

    fn values() -> Values {
        let info = algorithms::find("cnn").unwrap().info();
        Values::parse("cnn", info.params, &request(0, "{}").params).unwrap()
    }

    #[test]
    fn raw_images_wait_for_one_that_tells_its_shape() {
        let decoder = || Decoder::new(&request(u64::MAX, "{}"), 1).unwrap().unwrap();
        let mut images = vec![Some(raw(0)), None, Some(raw(2)), Some(png(3)), None, Some(raw(5))];
        let (data, _) = decode(decoder(), &images);
        let found = pictures(&data);
        assert_eq!(found.len(), 6);
        for (row, image) in images.iter().enumerate().filter(|(_, i)| i.is_some()) {
            assert_eq!(found.image(row as u32, &mut vec![]).unwrap(), raw(row), "{image:?}");
        }
        // One among those that waited is none: it is the one that is named.
        images[2] = Some(vec![1, 2, 3]);
        let mut waits = decoder();
        images[..3].iter().for_each(|i| i.as_ref().map_or((), |i| waits.push(i).unwrap()));
        let (row, error) = waits.push(&png(3)).unwrap_err();
        assert_eq!((row, error.kind), (1, Kind::Data));
        // Without any, they stay what they are.
        let (data, _) = decode(decoder(), &[Some(raw(0)), None, Some(raw(2))]);
        assert!(matches!(data, Data::Bytes { ends, .. } if ends == [144, 144, 288]));
    }

    #[test]
    fn rows_are_digested_as_they_came() {
        let images: Vec<_> = (0..9).map(|i| (i != 4).then(|| png(i))).collect();
        let decoder = Decoder::new(&request(u64::MAX, "{}"), 1).unwrap().unwrap();
        let missing: Vec<bool> = images.iter().map(Option::is_none).collect();
        let column = |data| Column { name: "image".into(), data, missing: missing.clone() };
        let decoded = Frame { columns: vec![column(decode(decoder, &images).0)], rows: 9 };
        let (mut ends, mut bytes) = (vec![], vec![]);
        for image in &images {
            bytes.extend(image.iter().flatten());
            ends.push(bytes.len());
        }
        let as_they_came = Frame { columns: vec![column(Data::Bytes { ends, bytes })], rows: 9 };
        assert_eq!(digest(&decoded, &[0]), digest(&as_they_came, &[0]));
        assert!(decoded.bytes() < as_they_came.bytes());
    }

    #[test]
    fn other_algorithms_read_bytes_as_they_are() {
        assert!(Decoder::new(&Request::default(), 1).unwrap().is_none());
    }
}
