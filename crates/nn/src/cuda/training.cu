// What a card computes for a network that is trained: a part of kernels.cu.
//
// A gradient of a layer's input lies in `t.z`, with the input's values in `t.x`, the output's gradient in `t.y`, and the
// output's values in `t.o`. Where several layers read a tensor, the first kernel sets its gradient, and the others add to it.
// Nothing is added up by atomic operations: sums are taken in parts whose number depends on the shapes alone, and
// the parts are added in order, so that a training repeats bit for bit.

// Gives a value of the input its gradient; none where a relu before it gave nothing.
__device__ void give(const Task &t, float *dx, const float *x, const Place &p, int channel, float v) {
    if (t.relu && !(x[at(t.x, p.image, p.row, p.column) + channel] > 0.0f)) v = 0.0f;
    Long i = at(t.z, p.image, p.row, p.column) + channel;
    dx[i] = t.add ? dx[i] + v : v;
}

// A pixel of a grid by its number.
__device__ Place pixel(const Grid &g, Long i) {
    Place p;
    p.channel = 0;
    p.column = (int)(i % g.width);
    i /= g.width;
    p.row = (int)(i % g.height);
    p.image = i / g.height;
    return p;
}

// Where a tap of a kernel lies behind the first one.
__device__ Long tap_at(const Task &t, int tap) {
    return ((Long)(tap / t.kernel[1]) * t.dilation[0] * t.x.columns + tap % t.kernel[1] * t.dilation[1]) * t.x.channels;
}

// The value of a sent image that lies at a place once the image is changed, normalised.
__device__ float varied(const Task &t, const void *x, const double *mean, Long image, const int *change, const Place &p) {
    int row = p.row - change[1], column = (change[0] ? t.y.width - 1 - p.column : p.column) - change[2];
    bool hidden = change[3] <= p.row && p.row < change[4] && change[5] <= p.column && p.column < change[6];
    if (row < 0 || row >= t.y.height || column < 0 || column >= t.y.width || hidden) return 0.0f;
    Long i = ((image * t.y.height + row) * t.y.width + column) * t.places + p.channel;
    double v = t.kind == 0 ? (double)((const unsigned char *)x)[i]
             : t.kind == 1 ? ((const double *)x)[i]
                           : (double)((const float *)x)[i];
    return (float)((v - mean[p.channel]) * mean[t.places + p.channel]);
}

// As `input`, with each image changed: mirrored or not, moved down and right, and rows and columns (from and to) cut out, in 8
// numbers an image. Where an image keeps a share of less than 1, the rest is its partner, which was sent behind all images, as
// its change is.
KERNEL images(Task t, float *y, const void *x, const double *mean, const float *shares, const int *changes) {
    Place p;
    if (!place(t, t.places, p)) return;
    float v = varied(t, x, mean, p.image, changes + 8 * p.image, p), share = shares[p.image];
    if (share < 1.0f) {
        Long partner = t.images + p.image;
        v = share * v + (1.0f - share) * varied(t, x, mean, partner, changes + 8 * partner, p);
    }
    y[at(t.y, p.image, p.row, p.column) + p.channel] = v;
}

// A number of a SplitMix64 stream, whose state after n numbers is known without them: see random.rs.
typedef unsigned long long Bits;
__device__ Bits drawn(Bits start, Bits number) {
    Bits z = start + (number + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// A value, or 0 with a probability of `t.a`: two values of a row share a number of the image's stream.
__device__ float thinned(const Task &t, const Grid &g, const Bits *starts, const Place &p, float v) {
    int j = p.column * g.channels + p.channel, pairs = (g.width * g.channels + 1) / 2;
    Bits bits = drawn(starts[p.image], (Bits)p.row * pairs + j / 2);
    bits = j % 2 == 0 ? bits >> 32 : bits & 0xFFFFFFFFull;
    return bits < (Bits)((double)t.a * 4294967296.0) ? 0.0f : v * (1.0f / (1.0f - t.a));
}

KERNEL dropout(Task t, float *y, const float *x, const Bits *starts, const float *, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel];
    y[at(t.y, p.image, p.row, p.column) + p.channel] = thinned(t, t.x, starts, p, v);
}

KERNEL dropout_grad(Task t, float *dx, const float *dy, const float *x, const Bits *starts, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    float v = dy[at(t.y, p.image, p.row, p.column) + p.channel];
    give(t, dx, x, p, p.channel, thinned(t, t.z, starts, p, v));
}

// The gradients of the outputs, `t.places` a row, where they belong; `of` says which each channel is, or -1. `t.relu`: the
// outputs in `x` came out of one.
KERNEL scatter(Task t, float *dy, const float *from, const float *x, const float *, const int *of) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    float v = of[p.channel] < 0 ? 0.0f : from[p.image * t.places + of[p.channel]];
    if (t.relu && !(x[at(t.x, p.image, 0, 0) + p.channel] > 0.0f)) v = 0.0f;
    dy[at(t.y, p.image, 0, 0) + p.channel] = v;
}

// The gradient of a convolution's input, as a product of matrices: a row a pixel of the input, a column an output of a tap of
// the kernel. A block of 16 x 16 threads computes 64 pixels of 64 input channels of one group.
KERNEL conv_grad(Task t, float *dx, const float *dy, const float *w, const float *x, const int *) {
    __shared__ float ys[STEP][TILE + 1];
    __shared__ float ws[STEP][TILE + 1];
    int thread = threadIdx.y * 16 + threadIdx.x, lane = thread % 16, group = blockIdx.z;
    Long first = (Long)blockIdx.x * TILE, pixels = (Long)t.images * t.z.height * t.z.width;
    int channel = blockIdx.y * TILE;
    const float *weights = w + (Long)group * t.k * t.blocks * 16;
    Place places[4];
    for (int i = 0; i < 4; i++) {
        Long p = first + thread / 16 + 16 * i;
        places[i] = pixel(t.z, p);
        if (p >= pixels) places[i].image = -1;
    }
    float sums[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
    for (int tap = 0; tap < t.kernel[0] * t.kernel[1]; tap++) {
        Long from[4];
        for (int i = 0; i < 4; i++) {
            int row = places[i].row + t.before[0] - tap / t.kernel[1] * t.dilation[0];
            int column = places[i].column + t.before[1] - tap % t.kernel[1] * t.dilation[1];
            bool met = places[i].image >= 0 && row >= 0 && column >= 0 && row % t.stride[0] == 0 && column % t.stride[1] == 0;
            row /= t.stride[0];
            column /= t.stride[1];
            met = met && row < t.y.height && column < t.y.width;
            from[i] = met ? at(t.y, places[i].image, row, column) + (Long)group * t.outputs : -1;
        }
        for (int block = 0; block < t.blocks; block++) {
            int o = block * 16 + lane;
            for (int i = 0; i < 4; i++) {
                int c = thread / 16 + 16 * i;
                ys[lane][c] = from[i] >= 0 && o < t.outputs ? dy[from[i] + o] : 0.0f;
                ws[lane][c] = channel + c < t.inputs
                    ? weights[((Long)block * t.k + (Long)tap * t.inputs + channel + c) * 16 + lane] : 0.0f;
            }
            __syncthreads();
            for (int s = 0; s < STEP; s++)
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++)
                        sums[i][j] += ys[s][threadIdx.y * 4 + i] * ws[s][threadIdx.x * 4 + j];
            __syncthreads();
        }
    }
    for (int i = 0; i < 4; i++) {
        Long p = first + threadIdx.y * 4 + i;
        if (p >= pixels) continue;
        Place to = pixel(t.z, p);
        for (int j = 0; j < 4; j++) {
            int c = channel + threadIdx.x * 4 + j;
            if (c < t.inputs) give(t, dx, x, to, group * t.inputs + c, sums[i][j]);
        }
    }
}

// A part of the gradient of a convolution's weights: the sum over `t.part` pixels of the output. A block of 16 x 16 threads
// computes 64 values of the kernel for 64 outputs of one group.
KERNEL conv_weights(Task t, float *parts, const float *x, const float *dy, const float *, const int *) {
    __shared__ float xs[STEP][TILE];
    __shared__ float ys[STEP][TILE];
    __shared__ Long froms[STEP], tos[STEP];
    int thread = threadIdx.y * 16 + threadIdx.x, wide = (t.blocks * 16 + TILE - 1) / TILE;
    int group = blockIdx.y / wide, k = blockIdx.x * TILE + thread % TILE, o = blockIdx.y % wide * TILE + thread % TILE;
    Long pixels = (Long)t.images * t.y.height * t.y.width;
    Long begin = (Long)blockIdx.z * t.part, end = min(begin + t.part, pixels);
    Long step = tap_at(t, k / t.inputs) + k % t.inputs;
    float sums[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
    for (Long p0 = begin; p0 < end; p0 += STEP) {
        if (thread < STEP) {
            bool there = p0 + thread < end;
            Place p = pixel(t.y, p0 + thread);
            froms[thread] = !there ? -1 : (Long)group * t.inputs
                + at(t.x, p.image, p.row * t.stride[0] - t.before[0], p.column * t.stride[1] - t.before[1]);
            tos[thread] = at(t.y, p.image, p.row, p.column) + (Long)group * t.outputs;
        }
        __syncthreads();
        for (int i = 0; i < 4; i++) {
            int s = thread / TILE + 4 * i;
            xs[s][thread % TILE] = k < t.k && froms[s] >= 0 ? x[froms[s] + step] : 0.0f;
            ys[s][thread % TILE] = o < t.outputs && froms[s] >= 0 ? dy[tos[s] + o] : 0.0f;
        }
        __syncthreads();
        for (int s = 0; s < STEP; s++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sums[i][j] += xs[s][threadIdx.y * 4 + i] * ys[s][threadIdx.x * 4 + j];
    }
    float *to = parts + ((Long)blockIdx.z * t.groups + group) * t.k * t.blocks * 16;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int row = blockIdx.x * TILE + threadIdx.y * 4 + i, column = blockIdx.y % wide * TILE + threadIdx.x * 4 + j;
            if (row < t.k && column < t.blocks * 16) to[((Long)(column / 16) * t.k + row) * 16 + column % 16] = sums[i][j];
        }
}

// Channel by channel: the gradient of the input.
KERNEL depthwise_grad(Task t, float *dx, const float *dy, const float *w, const float *x, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    const float *weights = w + (Long)(p.channel / 16) * t.k * 16 + p.channel % 16;
    float sum = 0.0f;
    for (int tap = 0; tap < t.k; tap++) {
        int row = p.row + t.before[0] - tap / t.kernel[1] * t.dilation[0];
        int column = p.column + t.before[1] - tap % t.kernel[1] * t.dilation[1];
        if (row < 0 || column < 0 || row % t.stride[0] != 0 || column % t.stride[1] != 0) continue;
        row /= t.stride[0];
        column /= t.stride[1];
        if (row >= t.y.height || column >= t.y.width) continue;
        sum += dy[at(t.y, p.image, row, column) + p.channel] * weights[tap * 16];
    }
    give(t, dx, x, p, p.channel, sum);
}

// The sum over 16 threads that have the same `threadIdx.x`, for the first of them.
__device__ double column_total(double v, double (*room)[16]) {
    room[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    double sum = 0.0;
    for (int i = 0; i < 16; i++) sum += room[i][threadIdx.x];
    __syncthreads();
    return sum;
}

// The same: a part of the gradient of a tap's weights, over `t.part` pixels of the output.
KERNEL depthwise_weights(Task t, float *parts, const float *x, const float *dy, const float *, const int *) {
    __shared__ double room[16][16];
    int channel = blockIdx.x * 16 + threadIdx.x, tap = blockIdx.z;
    Long pixels = (Long)t.images * t.y.height * t.y.width;
    Long begin = (Long)blockIdx.y * t.part, end = min(begin + t.part, pixels);
    double sum = 0.0;
    for (Long i = begin + threadIdx.y; i < end; i += 16) {
        Place p = pixel(t.y, i);
        Long from = at(t.x, p.image, p.row * t.stride[0] - t.before[0], p.column * t.stride[1] - t.before[1]) + tap_at(t, tap);
        sum += (double)(x[from + channel] * dy[at(t.y, p.image, p.row, p.column) + channel]);
    }
    sum = column_total(sum, room);
    if (threadIdx.y == 0)
        parts[(((Long)blockIdx.y * t.blocks + blockIdx.x) * t.k + tap) * 16 + threadIdx.x] = (float)sum;
}

// Adds `t.kind` parts of `t.part` values each, in order.
KERNEL collect(Task t, float *out, const float *parts, const float *, const float *, const int *) {
    Long i = number();
    if (i >= t.part) return;
    double sum = 0.0;
    for (int s = 0; s < t.kind; s++) sum += (double)parts[(Long)s * t.part + i];
    out[i] = (float)sum;
}

// Two sums a channel over `t.part` pixels, one after the other, for each part. kind 0: of `dy`. kind 1: of x - s and of its
// square, where s is the channel's first value, so that squares do not cancel. kind 2: of `dy`, and of `dy` (x - mean), with the
// means in `a`. kind 3: of `dy`, and of `dy` times the value as a layer or group norm made it, with each set's mean and
// spread in `a`: a set is a pixel (t.groups = 0), or the group that `of` says, -1 for padding.
KERNEL channel_sums(Task t, double *out, const float *x, const float *dy, const float *a, const int *of) {
    __shared__ double room[16][16];
    int c = blockIdx.x * 16 + threadIdx.x;
    const Grid &g = t.y;
    Long pixels = (Long)t.images * g.height * g.width;
    Long begin = (Long)blockIdx.y * t.part, end = min(begin + t.part, pixels);
    double first = 0.0, second = 0.0;
    if (c < g.channels && !(t.kind == 3 && of[c] < 0)) {
        float shift = t.kind == 1 ? x[at(t.x, 0, 0, 0) + c] : t.kind == 2 ? a[c] : 0.0f;
        // Short sums in f32, and the sum of these in f64.
        for (Long i = begin + threadIdx.y; i < end;) {
            float one = 0.0f, two = 0.0f;
            for (int n = 0; n < 32 && i < end; n++, i += 16) {
                Place p = pixel(g, i);
                float d = t.kind == 1 ? 0.0f : dy[at(t.y, p.image, p.row, p.column) + c];
                float v = t.kind == 0 ? 0.0f : x[at(t.x, p.image, p.row, p.column) + c] - shift;
                if (t.kind == 3) {
                    Long set = t.groups == 0 ? i : p.image * t.groups + of[c];
                    v = (v - a[2 * set]) * a[2 * set + 1];
                }
                one += t.kind == 1 ? v : d;
                two += t.kind == 1 ? v * v : d * v;
            }
            first += (double)one;
            second += (double)two;
        }
    }
    first = column_total(first, room);
    second = column_total(second, room);
    if (threadIdx.y == 0 && c < g.channels) {
        out[(Long)blockIdx.y * 2 * g.channels + c] = first;
        out[((Long)blockIdx.y * 2 + 1) * g.channels + c] = second;
    }
}

// Such a sum of all parts.
__device__ double part_sum(const Task &t, const double *parts, int which, int c) {
    double sum = 0.0;
    for (int s = 0; s < t.k; s++) sum += parts[((Long)s * 2 + which) * t.y.channels + c];
    return sum;
}

// Gradients from such sums. kind 0: of biases. kind 1: of scales, and of the shifts behind them.
KERNEL settle(Task t, float *out, const double *parts, const float *, const float *, const int *) {
    int c = (int)number();
    if (c >= t.y.channels) return;
    if (t.kind == 1) out[c] = (float)part_sum(t, parts, 1, c);
    out[t.kind == 1 ? t.y.channels + c : c] = (float)part_sum(t, parts, 0, c);
}

// What a batch norm does to each channel, from sums of kind 1 over the batch: scales, shifts, means, two that `differentiate`
// sets, and one over the deviation, one list after the other; `w` has its weights. Moves the running mean and
// variance by the share t.c[0], the variance as that of a sample.
KERNEL measure(Task t, float *norm, const double *parts, const float *w, float *running, const float *x) {
    int c = (int)number(), width = t.y.channels;
    if (c >= width) return;
    double count = (double)t.images * t.x.height * t.x.width;
    double sum = part_sum(t, parts, 0, c), squares = part_sum(t, parts, 1, c);
    double mean = (double)x[at(t.x, 0, 0, 0) + c] + sum / count;
    double variance = squares - sum * sum / count;
    variance = (variance > 0.0 ? variance : 0.0) / count;
    double spread = 1.0 / sqrt(variance + (double)t.a);
    float scale = (float)((double)w[c] * spread);
    norm[c] = scale;
    norm[width + c] = (float)((double)w[width + c] - mean * (double)scale);
    norm[2 * width + c] = (float)mean;
    norm[5 * width + c] = (float)spread;
    double share = (double)t.c[0], sample = count / (count > 2.0 ? count - 1.0 : 1.0);
    running[c] = (float)((1.0 - share) * (double)running[c] + share * mean);
    running[width + c] = (float)((1.0 - share) * (double)running[width + c] + share * variance * sample);
}

// A batch norm's share in the gradient, from sums of kind 2, and the gradients of its weights.
KERNEL differentiate(Task t, float *norm, const double *parts, float *dw, const float *, const int *) {
    int c = (int)number(), width = t.y.channels;
    if (c >= width) return;
    double count = (double)t.images * t.x.height * t.x.width;
    double sum = part_sum(t, parts, 0, c), product = part_sum(t, parts, 1, c), spread = (double)norm[5 * width + c];
    dw[c] = (float)(product * spread);
    dw[width + c] = (float)sum;
    double a = (double)norm[c] / count;
    norm[3 * width + c] = (float)(-a * spread * spread * product);
    norm[4 * width + c] = (float)(-a * sum);
}

KERNEL scale_grad(Task t, float *dx, const float *dy, const float *x, const float *norm, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    int width = t.z.channels, c = p.channel;
    float v = norm[c] * dy[at(t.y, p.image, p.row, p.column) + c]
            + norm[3 * width + c] * (x[at(t.x, p.image, p.row, p.column) + c] - norm[2 * width + c]) + norm[4 * width + c];
    give(t, dx, x, p, c, v);
}

// Maxima (kind 1), to the first of equal ones, or means (kind 0).
KERNEL pool_grad(Task t, float *dx, const float *dy, const float *x, const float *y, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel], sum = 0.0f;
    int row = p.row + t.before[0], column = p.column + t.before[1];
    // Windows that begin at or before the pixel and reach it.
    int top = max(row - t.kernel[0] + t.stride[0], 0) / t.stride[0], left = max(column - t.kernel[1] + t.stride[1], 0) / t.stride[1];
    for (int r = top; r <= row / t.stride[0] && r < t.y.height; r++)
        for (int q = left; q <= column / t.stride[1] && q < t.y.width; q++) {
            float d = dy[at(t.y, p.image, r, q) + p.channel];
            if (t.kind == 0) {
                sum += d * (1.0f / (float)(t.kernel[0] * t.kernel[1]));
                continue;
            }
            if (v != y[at(t.o, p.image, r, q) + p.channel]) continue;
            bool earlier = false;
            int up = max(r * t.stride[0] - t.before[0], 0), from = max(q * t.stride[1] - t.before[1], 0);
            int to = min(q * t.stride[1] - t.before[1] + t.kernel[1], t.x.width);
            for (int i = up; i <= p.row && !earlier; i++)
                for (int j = from; j < (i < p.row ? to : p.column) && !earlier; j++)
                    earlier = x[at(t.x, p.image, i, j) + p.channel] == v;
            if (!earlier) sum += d;
        }
    give(t, dx, x, p, p.channel, sum);
}

KERNEL flatten_grad(Task t, float *dx, const float *dy, const float *x, const float *, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    Long from = ((Long)p.row * t.z.width + p.column) * t.z.channels + p.channel;
    give(t, dx, x, p, p.channel, dy[at(t.y, p.image, 0, 0) + from]);
}

// Of a sum of two tensors, too.
KERNEL copy_grad(Task t, float *dx, const float *dy, const float *x, const float *, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    give(t, dx, x, p, p.channel, dy[at(t.y, p.image, p.row, p.column) + p.channel]);
}

KERNEL activation_grad(Task t, float *dx, const float *dy, const float *x, const float *y, const int *) {
    Place p;
    if (!place_in(t, t.z, t.z.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel], f = y[at(t.o, p.image, p.row, p.column) + p.channel];
    float d = dy[at(t.y, p.image, p.row, p.column) + p.channel], s = 1.0f / (1.0f + expf(-v));
    switch (t.kind) {
    case 0: d = v > 0.0f ? d : 0.0f; break;
    case 1: d = v > 0.0f ? d : d * t.a; break;
    case 2: d *= 0.5f * erfcf(-v * 0.70710678f) + v * 0.3989423f * expf(-0.5f * v * v); break;
    case 3: d *= s + v * s * (1.0f - s); break;
    case 4: d *= f * (1.0f - f); break;
    default: d *= 1.0f - f * f;
    }
    give(t, dx, x, p, p.channel, d);
}

// A thread a pixel.
KERNEL softmax_grad(Task t, float *dx, const float *dy, const float *x, const float *y, const int *places) {
    Place p;
    if (!place_in(t, t.z, 1, p)) return;
    const float *d = dy + at(t.y, p.image, p.row, p.column), *f = y + at(t.o, p.image, p.row, p.column);
    float dot = 0.0f;
    for (int i = 0; i < t.places; i++) dot += f[places[i]] * d[places[i]];
    for (int i = 0; i < t.places; i++) give(t, dx, x, p, places[i], f[places[i]] * (d[places[i]] - dot));
}

// The values that a layer or group norm makes one of: see `group_norm`.
struct Set {
    Long image, count;
    int row, column, width, channels, first;
};

__device__ Set set_of(const Task &t, Long number) {
    Set s;
    Long sets = t.kind == 1 ? t.groups : (Long)t.x.height * t.x.width;
    int set = (int)(number % sets);
    s.image = number / sets;
    s.channels = t.kind == 1 ? t.places / t.groups : t.places;
    s.first = t.kind == 1 ? set * s.channels : 0;
    s.row = t.kind == 1 ? 0 : set / t.x.width;
    s.column = t.kind == 1 ? 0 : set % t.x.width;
    s.width = t.kind == 1 ? t.x.width : 1;
    s.count = (Long)(t.kind == 1 ? t.x.height : 1) * s.width * s.channels;
    return s;
}

// A value of the set, and which of its channels.
__device__ Place member(const Set &s, Long i, const int *places) {
    Place p;
    int pixel = (int)(i / s.channels);
    p.image = s.image;
    p.row = s.row + pixel / s.width;
    p.column = s.column + pixel % s.width;
    p.channel = places[s.first + (int)(i % s.channels)];
    return p;
}

// Mean, and one over the deviation, for all threads of the block.
__device__ void moments_of(const Task &t, const Set &s, const float *x, const int *places, double *room, float &centre, float &spread) {
    double mean = 0.0, squares = 0.0;
    for (Long i = threadIdx.x; i < s.count; i += 256) {
        Place p = member(s, i, places);
        mean += x[at(t.x, p.image, p.row, p.column) + p.channel];
    }
    mean = total(mean, room) / (double)s.count;
    for (Long i = threadIdx.x; i < s.count; i += 256) {
        Place p = member(s, i, places);
        double d = x[at(t.x, p.image, p.row, p.column) + p.channel] - mean;
        squares += d * d;
    }
    centre = (float)mean;
    spread = (float)(1.0 / sqrt(total(squares, room) / (double)s.count + (double)t.a));
}

// A block a set, as for `group_norm`: what `channel_sums` needs of it.
KERNEL norm_moments(Task t, float *out, const float *x, const float *, const float *, const int *places) {
    __shared__ double room[256];
    float centre, spread;
    moments_of(t, set_of(t, blockIdx.x), x, places, room, centre, spread);
    if (threadIdx.x == 0) {
        out[2 * (Long)blockIdx.x] = centre;
        out[2 * (Long)blockIdx.x + 1] = spread;
    }
}

// The gradient of the input.
KERNEL group_norm_grad(Task t, float *dx, const float *dy, const float *x, const float *scale, const int *places) {
    __shared__ double room[256];
    Set s = set_of(t, blockIdx.x);
    float centre, spread;
    moments_of(t, s, x, places, room, centre, spread);
    double sum = 0.0, product = 0.0;
    for (Long i = threadIdx.x; i < s.count; i += 256) {
        Place p = member(s, i, places);
        float unit = (x[at(t.x, p.image, p.row, p.column) + p.channel] - centre) * spread;
        float d = dy[at(t.y, p.image, p.row, p.column) + p.channel] * scale[p.channel];
        sum += (double)d;
        product += (double)(d * unit);
    }
    float mean = (float)(total(sum, room) / (double)s.count), slope = (float)(total(product, room) / (double)s.count);
    for (Long i = threadIdx.x; i < s.count; i += 256) {
        Place p = member(s, i, places);
        float unit = (x[at(t.x, p.image, p.row, p.column) + p.channel] - centre) * spread;
        float d = dy[at(t.y, p.image, p.row, p.column) + p.channel] * scale[p.channel];
        give(t, dx, x, p, p.channel, spread * (d - mean - unit * slope));
    }
}

// Of one of the tensors, whose channels lie from `t.part` on.
KERNEL concat_grad(Task t, float *dx, const float *dy, const float *x, const float *, const int *places) {
    Place p;
    if (!place_in(t, t.z, t.places, p)) return;
    give(t, dx, x, p, places[p.channel], dy[at(t.y, p.image, p.row, p.column) + t.part + p.channel]);
}

// The gradient of an embedding's table of t.kind rows of t.k values: the codes are in channel t.inputs, the table's values in
// channels from t.outputs on. A thread a weight goes through all images.
KERNEL embed_weights(Task t, float *dw, const float *x, const float *dy, const float *, const int *) {
    Long i = number();
    if (i >= (Long)t.kind * t.k) return;
    int row = (int)(i / t.k), value = (int)(i % t.k);
    float sum = 0.0f, last = (float)(t.kind - 1);
    for (int image = 0; image < t.images; image++) {
        float code = x[at(t.x, image, 0, 0) + t.inputs];
        int found = code >= 0.0f ? (int)fminf(code, last) : t.kind - 1;
        if (found == row) sum += dy[at(t.y, image, 0, 0) + t.outputs + value];
    }
    dw[i] = sum;
}

// The sum of squares of 16384 of `t.part` values, a block of 256 threads each; results from number `t.k` on.
KERNEL squares(Task t, double *out, const float *g, const float *, const float *, const int *) {
    __shared__ double room[256];
    Long from = (Long)blockIdx.x * 16384, to = min(from + 16384, (Long)t.part);
    double sum = 0.0;
    for (Long i = from + threadIdx.x; i < to; i += 256) sum += (double)g[i] * (double)g[i];
    sum = total(sum, room);
    if (threadIdx.x == 0) out[t.k + blockIdx.x] = sum;
}

// What a gradient is multiplied with, lest it be longer than t.a: one block adds `t.part` sums of squares.
KERNEL clip(Task t, float *share, const double *sums, const float *, const float *, const int *) {
    __shared__ double room[256];
    double sum = 0.0;
    for (int i = threadIdx.x; i < t.part; i += 256) sum += sums[i];
    double length = sqrt(total(sum, room));
    if (threadIdx.x == 0) *share = length > (double)t.a ? (float)((double)t.a / (length + 1e-6)) : 1.0f;
}

KERNEL shrink(Task t, float *g, const float *share, const float *, const float *, const int *) {
    Long i = number();
    if (i < t.part) g[i] *= *share;
}

// One step of gradient descent: rate, momentum, decay, and the share of the weights in their moving average, if there is one.
// See kernels/step.rs.
KERNEL sgd(Task t, float *w, const float *g, float *m, float *, float *average) {
    Long i = number();
    if (i >= t.part) return;
    float d = g[i] + t.c[2] * w[i], moment = t.c[1] * m[i] + d;
    m[i] = moment;
    w[i] -= t.c[0] * (t.kind ? d + t.c[1] * moment : moment);
    if (average) average[i] += t.c[3] * (w[i] - average[i]);
}

// One step of Adam: rate, scale, decay, the share, and what shrinks a weight first.
KERNEL adam(Task t, float *w, const float *g, float *m, float *v, float *average) {
    Long i = number();
    if (i >= t.part) return;
    float x = w[i] * t.c[4], d = g[i] + t.c[2] * x;
    m[i] = 0.9f * m[i] + (1.0f - 0.9f) * d;
    v[i] = 0.999f * v[i] + (1.0f - 0.999f) * d * d;
    w[i] = x - t.c[0] * m[i] / (sqrtf(v[i]) * t.c[1] + 1e-8f);
    if (average) average[i] += t.c[3] * (w[i] - average[i]);
}
