//! Sums and passes of normalising layers, over rows of pixels; a pixel has as many values as the slices a channel.

use super::{BLOCK, Isa, Kind};

versions! {
    /// Adds up `x - shift` and its square, channel by channel. The shift, any value of the channel, keeps the
    /// squares from cancelling.
    pub fn shifted_sums(x: &[f32], shift: &[f32], sums: &mut [f64], squares: &mut [f64]) {
        let channels = shift.len();
        let blocks = shift.chunks(BLOCK).zip(sums.chunks_mut(BLOCK)).zip(squares.chunks_mut(BLOCK));
        for (b, ((shift, sums), squares)) in blocks.enumerate() {
            let (mut total, mut square) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
            for pixel in x.chunks_exact(channels) {
                let values = pixel[b * BLOCK..].iter().zip(shift);
                for ((t, s), (x, shift)) in total.iter_mut().zip(&mut square).zip(values) {
                    let d = x - shift;
                    *t += d;
                    *s += d * d;
                }
            }
            for (s, t) in sums.iter_mut().zip(total) {
                *s += f64::from(t);
            }
            for (s, t) in squares.iter_mut().zip(square) {
                *s += f64::from(t);
            }
        }
    }
}

versions! {
    /// `out = x * scale + shift`, and negatives become zero where `relu` says so.
    pub fn scale(x: &[f32], scale: &[f32], shift: &[f32], relu: bool, out: &mut [f32]) {
        let channels = scale.len();
        for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((o, x), (a, b)) in out.iter_mut().zip(x).zip(scale.iter().zip(shift)) {
                let y = x * a + b;
                *o = if relu && y <= 0.0 { 0.0 } else { y };
            }
        }
    }
}

versions! {
    /// Adds up `dy` and `dy * (x - mean)`, channel by channel.
    pub fn grad_sums(x: &[f32], dy: &[f32], mean: &[f32], sums: &mut [f64], products: &mut [f64]) {
        let channels = mean.len();
        let blocks = mean.chunks(BLOCK).zip(sums.chunks_mut(BLOCK)).zip(products.chunks_mut(BLOCK));
        for (b, ((mean, sums), products)) in blocks.enumerate() {
            let (mut total, mut product) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
            for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                let values = x[b * BLOCK..].iter().zip(&dy[b * BLOCK..]).zip(mean);
                for ((t, p), ((x, dy), mean)) in total.iter_mut().zip(&mut product).zip(values) {
                    *t += dy;
                    *p += dy * (x - mean);
                }
            }
            for (s, t) in sums.iter_mut().zip(total) {
                *s += f64::from(t);
            }
            for (s, t) in products.iter_mut().zip(product) {
                *s += f64::from(t);
            }
        }
    }
}

versions! {
    /// `dx = a dy + b (x - mean) + c`, channel by channel.
    pub fn grad(x: &[f32], dy: &[f32], mean: &[f32], abc: (&[f32], &[f32], &[f32]), dx: &mut [f32]) {
        let channels = mean.len();
        let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
        for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(pixels) {
            for i in 0..channels {
                dx[i] = abc.0[i] * dy[i] + abc.1[i] * (x[i] - mean[i]) + abc.2[i];
            }
        }
    }
}
