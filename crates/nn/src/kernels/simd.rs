//! Vectors of f32 by kind of CPU, so that the loops of [`super::tile`] are written once.

/// A vector of `LANES` floats.
pub trait Simd: Copy {
    /// Floats a vector.
    const LANES: usize;
    /// Pixels whose sums (two vectors each) fit the registers, next to the weights.
    const PIXELS: usize;
    /// Kernel values whose sums fit the registers in a weight gradient.
    const VALUES: usize;

    /// Runs `f` in a function of its own, compiled for this vector's CPU: only its own loops compete for registers.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn apart(f: impl FnOnce());
    /// # Safety
    /// `p` must be valid for reading `LANES` floats, and the CPU must have the features of this vector.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// `p` must be valid for writing `LANES` floats, and the CPU must have the features of this vector.
    unsafe fn store(self, p: *mut f32);
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn splat(x: f32) -> Self;
    /// `self + a * b`.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn add_mul(self, a: Self, b: Self) -> Self;
    /// `self + a`.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn add(self, a: Self) -> Self;
    /// `self - a`.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn sub(self, a: Self) -> Self;
    /// `a` where it is larger, else `self`.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn max(self, a: Self) -> Self;
    /// Negatives become zero.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn relu(self) -> Self;
    /// Kept where `mask` is positive, else zero.
    /// # Safety
    /// The CPU must have the features of this vector.
    unsafe fn where_positive(self, mask: Self) -> Self;
}

/// For any CPU: two SSE or NEON registers' worth, left to the compiler.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

impl Simd for Portable {
    const LANES: usize = 8;
    const PIXELS: usize = 2;
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn apart(f: impl FnOnce()) {
        f();
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises LANES floats; `[f32; 8]` has the alignment of f32.
        Portable(unsafe { *p.cast::<[f32; 8]>() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { *p.cast::<[f32; 8]>() = self.0 }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; 8])
    }
    #[inline(always)]
    unsafe fn add_mul(mut self, a: Self, b: Self) -> Self {
        for i in 0..8 {
            self.0[i] += a.0[i] * b.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn add(mut self, a: Self) -> Self {
        for (x, a) in self.0.iter_mut().zip(a.0) {
            *x += a;
        }
        self
    }
    #[inline(always)]
    unsafe fn sub(mut self, a: Self) -> Self {
        for (x, a) in self.0.iter_mut().zip(a.0) {
            *x -= a;
        }
        self
    }
    #[inline(always)]
    unsafe fn max(mut self, a: Self) -> Self {
        for (x, a) in self.0.iter_mut().zip(a.0) {
            *x = if a > *x { a } else { *x };
        }
        self
    }
    #[inline(always)]
    unsafe fn relu(mut self) -> Self {
        for x in &mut self.0 {
            *x = if *x > 0.0 { *x } else { 0.0 };
        }
        self
    }
    #[inline(always)]
    unsafe fn where_positive(mut self, mask: Self) -> Self {
        for (x, m) in self.0.iter_mut().zip(mask.0) {
            *x = if m > 0.0 { *x } else { 0.0 };
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{V8, V16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX-512.
    #[derive(Clone, Copy)]
    pub struct V16(__m512);

    impl Simd for V16 {
        const LANES: usize = 16;
        const PIXELS: usize = 12;
        const VALUES: usize = 12;

        #[inline(always)]
        unsafe fn apart(f: impl FnOnce()) {
            #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
            #[inline(never)]
            fn run(f: impl FnOnce()) {
                f();
            }
            // SAFETY: the caller's promise.
            unsafe { run(f) }
        }

        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn add_mul(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_add_ps(self.0, a.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_sub_ps(self.0, a.0) })
        }
        #[inline(always)]
        unsafe fn max(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_max_ps(a.0, self.0) })
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: the caller's promise.
            V16(unsafe { _mm512_max_ps(self.0, _mm512_setzero_ps()) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, mask: Self) -> Self {
            // SAFETY: the caller's promise.
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask.0, _mm512_setzero_ps());
                V16(_mm512_maskz_mov_ps(keep, self.0))
            }
        }
    }

    /// AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub struct V8(__m256);

    impl Simd for V8 {
        const LANES: usize = 8;
        const PIXELS: usize = 6;
        const VALUES: usize = 6;

        #[inline(always)]
        unsafe fn apart(f: impl FnOnce()) {
            #[target_feature(enable = "avx2,fma")]
            #[inline(never)]
            fn run(f: impl FnOnce()) {
                f();
            }
            // SAFETY: the caller's promise.
            unsafe { run(f) }
        }

        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn add_mul(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_add_ps(self.0, a.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_sub_ps(self.0, a.0) })
        }
        #[inline(always)]
        unsafe fn max(self, a: Self) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_max_ps(a.0, self.0) })
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: the caller's promise.
            V8(unsafe { _mm256_max_ps(self.0, _mm256_setzero_ps()) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, mask: Self) -> Self {
            // SAFETY: the caller's promise.
            unsafe {
                let keep = _mm256_cmp_ps::<_CMP_GT_OQ>(mask.0, _mm256_setzero_ps());
                V8(_mm256_and_ps(keep, self.0))
            }
        }
    }
}
