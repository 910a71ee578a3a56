//! Stored images to bytes of one shape: PNG, JPEG, or raw.

use crate::error::{Error, Kind, Result};
use crate::schema::ImageShape;
use image::{ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// No stored image may decode to more than this: a small file can claim a huge picture.
const MAX_SIDE: u32 = 16_384;
const MAX_BYTES: u64 = 256 << 20;

fn format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// The shape that a PNG or JPEG tells; none for raw bytes. Grey pictures have one channel, all others three.
pub fn shape(bytes: &[u8]) -> Result<Option<ImageShape>> {
    let Some(format) = format(bytes) else { return Ok(None) };
    let picture = open(bytes, format)?;
    let channels = if picture.color().has_color() { 3 } else { 1 };
    Ok(Some(ImageShape { height: picture.height() as usize, width: picture.width() as usize, channels }))
}

fn open(bytes: &[u8], format: ImageFormat) -> Result<image::DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader
        .decode()
        .map_err(|e| Error::new(Kind::Data, format!("image cannot be decoded: {}", e.to_string().trim_end())))
}

/// Decodes one image into `out`, which is `shape.bytes()` long, rows first, channels last.
///
/// # Errors
/// `Kind::Data` when the bytes are not an image of that shape; the caller adds the column and row.
pub fn decode(bytes: &[u8], shape: ImageShape, channels_first: bool, out: &mut [u8]) -> Result<()> {
    let ImageShape { height, width, channels } = shape;
    // Raw bytes of exactly the right length are raw, even where a first pixel looks like a file's magic number.
    if bytes.len() == shape.bytes() {
        if channels_first {
            for (c, plane) in bytes.chunks_exact(height * width).enumerate() {
                for (i, v) in plane.iter().enumerate() {
                    out[i * channels + c] = *v;
                }
            }
        } else {
            out.copy_from_slice(bytes);
        }
        return Ok(());
    }
    let Some(format) = format(bytes) else {
        let message = format!(
            "image has {} bytes, expected {} ({height}x{width}x{channels} raw), a PNG or a JPEG",
            bytes.len(),
            shape.bytes()
        );
        return Err(Error::new(Kind::Data, message));
    };
    let picture = open(bytes, format)?;
    if (picture.height() as usize, picture.width() as usize) != (height, width) {
        let message = format!("image is {}x{}, expected {height}x{width}", picture.height(), picture.width());
        return Err(Error::new(Kind::Data, message).hint("Bring all images of a model to one size first."));
    }
    match channels {
        1 => out.copy_from_slice(&picture.to_luma8()),
        3 => out.copy_from_slice(&picture.to_rgb8()),
        4 => out.copy_from_slice(&picture.to_rgba8()),
        _ => return Err(Error::new(Kind::Data, format!("a PNG or JPEG cannot give {channels} channels"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Vec<u8> {
        let picture = image::RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut bytes = Cursor::new(vec![]);
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn decodes_png_and_raw_in_both_layouts() {
        let s = shape(&png()).unwrap().unwrap();
        assert_eq!(s, ImageShape { height: 2, width: 3, channels: 3 });
        let mut out = vec![0; s.bytes()];
        decode(&png(), s, false, &mut out).unwrap();
        assert_eq!(out[..6], [0, 0, 9, 1, 0, 9]);
        let planes: Vec<u8> = (0..18).collect();
        decode(&planes, s, true, &mut out).unwrap();
        assert_eq!(out[..6], [0, 6, 12, 1, 7, 13]);
    }

    #[test]
    fn refuses_truncated_empty_and_wrong_size() {
        let s = ImageShape { height: 2, width: 3, channels: 3 };
        let mut out = vec![0; s.bytes()];
        let whole = png();
        for n in 0..whole.len() - 12 {
            if n != s.bytes() {
                assert!(decode(&whole[..n], s, false, &mut out).is_err(), "{n} bytes");
            }
        }
        let t = ImageShape { height: 3, width: 3, channels: 3 };
        assert!(decode(&whole, t, false, &mut [0; 27]).unwrap_err().message.contains("2x3, expected 3x3"));
    }
}
