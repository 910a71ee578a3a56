//! The images of a shard's rows: in a copy of its own, or where whoever reads the rows keeps them.

use crate::pictures::Pictures;
use crate::schema::Chunk;
use nn::data::{Feed, Images as _, Inputs};
use nn::score::Predictor;
use std::ops::Range;
use std::sync::Arc;

/// Images by row.
pub enum Images {
    /// A copy, one after another.
    Own(Vec<u8>),
    /// Those of a source, with the number of each row's.
    Kept(Arc<Pictures>, Vec<u32>),
}

impl Default for Images {
    fn default() -> Images {
        Images::Own(vec![])
    }
}

impl Images {
    /// Takes those of a block.
    pub fn take(&mut self, chunk: &Chunk) {
        match (&mut *self, chunk.kept) {
            (Images::Own(own), Some(kept)) if own.is_empty() => {
                *self = Images::Kept(kept.pictures.clone(), kept.rows.to_vec());
            }
            (Images::Kept(_, rows), Some(kept)) => rows.extend_from_slice(kept.rows),
            (Images::Own(own), _) => own.extend_from_slice(chunk.images),
            (Images::Kept(..), None) => {}
        }
    }

    /// Splits off those of rows that are listed, in order; `size` is that of each.
    pub fn split_off(&mut self, rows: &[u32], size: usize) -> Images {
        match self {
            Images::Own(own) => Images::Own(super::validation::part(own, rows, size)),
            Images::Kept(pictures, all) => {
                Images::Kept(pictures.clone(), super::validation::part(all, rows, 1))
            }
        }
    }

    /// To train on.
    pub fn feed(&self) -> Feed<'_> {
        match self {
            Images::Own(own) => Feed::Here(Inputs::Bytes(own)),
            Images::Kept(pictures, rows) => Feed::Kept { images: &**pictures, rows },
        }
    }

    /// A network's outputs for some of them.
    ///
    /// # Errors
    /// Those of reading and of the network.
    pub fn score(&self, rows: Range<usize>, network: &Predictor, out: &mut [f64]) -> Result<(), nn::Error> {
        let size = network.plan().network.input.len();
        match self {
            Images::Own(own) => network.outputs(Inputs::Bytes(&own[rows.start * size..rows.end * size]), out),
            Images::Kept(pictures, numbers) => {
                let (mut all, mut one) = (Vec::with_capacity(rows.len() * size), vec![]);
                for number in &numbers[rows] {
                    all.extend_from_slice(pictures.image(*number, &mut one)?);
                }
                network.outputs(Inputs::Bytes(&all), out)
            }
        }
    }
}
