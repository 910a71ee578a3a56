// What a card computes for a network that scores; for one that is trained, training.cu adds to it. One source for two readers:
// nvcc makes kernels.ptx of it (see mod.rs for the command), and the tests compile it for the CPU with emulate.h, which runs
// the threads of a block one after the other between barriers.
//
// Values lie as on the CPU (plan/mod.rs): images of rows of pixels of channels, with a halo of zeros where a convolution
// reads one, and channels padded to whole blocks of 16 whose padding stays zero. All kernels take the same arguments, so that
// one way to launch serves for all; what a kernel does not need is null.
#ifndef EMULATED
#define KERNEL extern "C" __global__ void
#endif

// As `Grid` in plan/mod.rs.
struct Grid {
    int height, width, channels, top, left, rows, columns;
};

// As `Task` in card.rs.
struct Task {
    // The input, the output, and a second input. Backward: the input's values, the output's gradient, the input's gradient,
    // and the output's values.
    Grid x, y, z, o;
    int images;
    int kernel[2], stride[2], dilation[2], before[2];
    // Channels of a group that are read and written, blocks of 16 of them, values of a kernel.
    int inputs, outputs, blocks, groups, k;
    int relu, kind;
    // Channels that count, and the first of them in the output.
    int places, part;
    // Whether a gradient is added to what is there.
    int add;
    float a;
    // What an optimizer's rule needs.
    float c[6];
};

typedef long long Long;

__device__ Long size_of(const Grid &g) { return (Long)g.rows * g.columns * g.channels; }

// Where a pixel begins.
__device__ Long at(const Grid &g, Long image, int row, int column) {
    return image * size_of(g) + ((Long)(row + g.top) * g.columns + column + g.left) * g.channels;
}

__device__ Long number() { return (Long)blockIdx.x * blockDim.x + threadIdx.x; }

// A value of a grid: its image, row, column and channel.
struct Place {
    Long image;
    int row, column, channel;
};

__device__ bool place_in(const Task &t, const Grid &g, int channels, Place &p) {
    Long i = number();
    p.channel = (int)(i % channels);
    i /= channels;
    p.column = (int)(i % g.width);
    i /= g.width;
    p.row = (int)(i % g.height);
    p.image = i / g.height;
    return p.image < t.images;
}

// One of the output.
__device__ bool place(const Task &t, int channels, Place &p) { return place_in(t, t.y, channels, p); }

__device__ float rectify(float v, int relu) { return relu && !(v > 0.0f) ? 0.0f : v; }

// Inputs as they were sent (kind 0: bytes, 1: f64, 2: f32), less the channel's mean, times its scale: `scale` follows `mean`.
KERNEL input(Task t, float *y, const void *x, const double *mean, const float *, const int *) {
    Place p;
    if (!place(t, t.places, p)) return;
    Long i = ((p.image * t.y.height + p.row) * t.y.width + p.column) * t.places + p.channel;
    double v = t.kind == 0 ? (double)((const unsigned char *)x)[i]
             : t.kind == 1 ? ((const double *)x)[i]
                           : (double)((const float *)x)[i];
    y[at(t.y, p.image, p.row, p.column) + p.channel] = (float)((v - mean[p.channel]) * mean[t.places + p.channel]);
}

// A convolution or dense layer, as a product of matrices whose left one (a row a pixel, a column a weight of the kernel) is
// never written down. A block of 16 x 16 threads computes 64 pixels of 64 output channels of one group.
#define TILE 64
#define STEP 16
KERNEL conv(Task t, float *y, const float *x, const float *w, const float *bias, const int *) {
    __shared__ float xs[STEP][TILE + 1];
    __shared__ float ws[STEP][TILE];
    int thread = threadIdx.y * 16 + threadIdx.x, group = blockIdx.z;
    Long first = (Long)blockIdx.x * TILE, pixels = (Long)t.images * t.y.height * t.y.width;
    int channel = blockIdx.y * TILE;
    const float *weights = w + (Long)group * t.k * t.blocks * 16;
    // The pixels whose values this thread fetches, a sixteenth of the tile.
    Long from[4];
    for (int i = 0; i < 4; i++) {
        Long p = first + thread / 16 + 16 * i;
        if (p >= pixels) {
            from[i] = -1;
            continue;
        }
        int column = (int)(p % t.y.width), row = (int)(p / t.y.width % t.y.height);
        from[i] = at(t.x, p / t.y.width / t.y.height, row * t.stride[0] - t.before[0], column * t.stride[1] - t.before[1])
                + (Long)group * t.inputs;
    }
    float sums[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
    for (int k0 = 0; k0 < t.k; k0 += STEP) {
        int k = k0 + thread % 16, tap = k / t.inputs;
        Long step = ((Long)(tap / t.kernel[1]) * t.dilation[0] * t.x.columns + tap % t.kernel[1] * t.dilation[1]) * t.x.channels
                  + k % t.inputs;
        for (int i = 0; i < 4; i++)
            xs[thread % 16][thread / 16 + 16 * i] = k < t.k && from[i] >= 0 ? x[from[i] + step] : 0.0f;
        for (int i = 0; i < 4; i++) {
            int o = channel + thread % TILE, wk = k0 + thread / TILE + 4 * i;
            ws[thread / TILE + 4 * i][thread % TILE] =
                wk < t.k && o < t.blocks * 16 ? weights[((Long)(o / 16) * t.k + wk) * 16 + o % 16] : 0.0f;
        }
        __syncthreads();
        for (int s = 0; s < STEP; s++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sums[i][j] += xs[s][threadIdx.y * 4 + i] * ws[s][threadIdx.x * 4 + j];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        Long p = first + threadIdx.y * 4 + i;
        if (p >= pixels) continue;
        int column = (int)(p % t.y.width), row = (int)(p / t.y.width % t.y.height);
        Long to = at(t.y, p / t.y.width / t.y.height, row, column) + (Long)group * t.outputs;
        for (int j = 0; j < 4; j++) {
            int o = channel + threadIdx.x * 4 + j;
            if (o < t.outputs) y[to + o] = rectify(sums[i][j] + bias[(Long)group * t.outputs + o], t.relu);
        }
    }
}

// Channel by channel.
KERNEL depthwise(Task t, float *y, const float *x, const float *w, const float *bias, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    const float *weights = w + (Long)(p.channel / 16) * t.k * 16 + p.channel % 16;
    Long from = at(t.x, p.image, p.row * t.stride[0] - t.before[0], p.column * t.stride[1] - t.before[1]) + p.channel;
    float sum = 0.0f;
    for (int tap = 0; tap < t.k; tap++) {
        Long step = ((Long)(tap / t.kernel[1]) * t.dilation[0] * t.x.columns + tap % t.kernel[1] * t.dilation[1]) * t.x.channels;
        sum += x[from + step] * weights[tap * 16];
    }
    y[at(t.y, p.image, p.row, p.column) + p.channel] = rectify(sum + bias[p.channel], t.relu);
}

// Maxima (kind 1) or means (kind 0) of windows; pixels beyond the edge count for means as zeros, and not for maxima.
KERNEL pool(Task t, float *y, const float *x, const float *, const float *, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    int row = p.row * t.stride[0] - t.before[0], column = p.column * t.stride[1] - t.before[1];
    int last_row = min(row + t.kernel[0], t.x.height), last_column = min(column + t.kernel[1], t.x.width);
    bool most = t.kind == 1, none = true;
    float sum = 0.0f;
    for (int r = max(row, 0); r < last_row; r++)
        for (int c = max(column, 0); c < last_column; c++) {
            float v = x[at(t.x, p.image, r, c) + p.channel];
            sum = !most ? sum + v : none || v > sum ? v : sum;
            none = false;
        }
    y[at(t.y, p.image, p.row, p.column) + p.channel] = most ? sum : sum / (float)(t.kernel[0] * t.kernel[1]);
}

// An image as a row.
KERNEL flatten(Task t, float *y, const float *x, const float *, const float *, const int *) {
    Long i = number();
    int channel = (int)(i % t.x.channels);
    i /= t.x.channels;
    int column = (int)(i % t.x.width);
    i /= t.x.width;
    int row = (int)(i % t.x.height);
    Long image = i / t.x.height;
    if (image >= t.images) return;
    Long to = ((Long)row * t.x.width + column) * t.x.channels + channel;
    y[at(t.y, image, 0, 0) + to] = x[at(t.x, image, row, column) + channel];
}

// Values as they are: what dropout is for scoring.
KERNEL copy(Task t, float *y, const float *x, const float *, const float *, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    y[at(t.y, p.image, p.row, p.column) + p.channel] = x[at(t.x, p.image, p.row, p.column) + p.channel];
}

// A function of each value: 0 relu, 1 leaky relu, 2 gelu, 3 silu, 4 sigmoid, 5 tanh. `used` says which channels are no padding.
KERNEL activation(Task t, float *y, const float *x, const float *, const float *, const int *used) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel];
    switch (t.kind) {
    case 0: v = v > 0.0f ? v : 0.0f; break;
    case 1: v = v > 0.0f ? v : v * t.a; break;
    case 2: v = v * 0.5f * erfcf(-v * 0.70710678f); break;
    case 3: v = v / (1.0f + expf(-v)); break;
    case 4: v = used[p.channel] ? 1.0f / (1.0f + expf(-v)) : 0.0f; break;
    default: v = tanhf(v);
    }
    y[at(t.y, p.image, p.row, p.column) + p.channel] = v;
}

// A thread a pixel.
KERNEL softmax(Task t, float *y, const float *x, const float *, const float *, const int *places) {
    Place p;
    if (!place(t, 1, p)) return;
    const float *from = x + at(t.x, p.image, p.row, p.column);
    float *to = y + at(t.y, p.image, p.row, p.column), most = from[places[0]], sum = 0.0f;
    for (int i = 1; i < t.places; i++) most = fmaxf(most, from[places[i]]);
    for (int c = 0; c < t.y.channels; c++) to[c] = 0.0f;
    for (int i = 0; i < t.places; i++) sum += to[places[i]] = expf(from[places[i]] - most);
    for (int i = 0; i < t.places; i++) to[places[i]] /= sum;
}

// A batch norm: each channel's scale, and its shift.
KERNEL scale(Task t, float *y, const float *x, const float *a, const float *b, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel] * a[p.channel] + b[p.channel];
    y[at(t.y, p.image, p.row, p.column) + p.channel] = rectify(v, t.relu);
}

// The sum over a block of 256 threads, for all of them.
__device__ double total(double v, double *room) {
    int thread = threadIdx.x;
    room[thread] = v;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (thread < half) room[thread] += room[thread + half];
        __syncthreads();
    }
    double sum = room[0];
    __syncthreads();
    return sum;
}

// A layer norm (kind 0: each pixel) or a group norm (kind 1: each group of channels over all pixels); a block of 256 threads
// each. `a` and `b` are each channel's scale and shift.
KERNEL group_norm(Task t, float *y, const float *x, const float *a, const float *b, const int *places) {
    __shared__ double room[256];
    Long sets = t.kind == 1 ? t.groups : (Long)t.x.height * t.x.width, image = blockIdx.x / sets;
    int set = (int)(blockIdx.x % sets), channels = t.kind == 1 ? t.places / t.groups : t.places;
    int first = t.kind == 1 ? set * channels : 0;
    int row = t.kind == 1 ? 0 : set / t.x.width, column = t.kind == 1 ? 0 : set % t.x.width;
    int height = t.kind == 1 ? t.x.height : 1, width = t.kind == 1 ? t.x.width : 1;
    Long count = (Long)height * width * channels;
    double mean = 0.0, squares = 0.0;
    for (Long i = threadIdx.x; i < count; i += 256) {
        int pixel = (int)(i / channels), c = places[first + (int)(i % channels)];
        mean += x[at(t.x, image, row + pixel / width, column + pixel % width) + c];
    }
    mean = total(mean, room) / (double)count;
    for (Long i = threadIdx.x; i < count; i += 256) {
        int pixel = (int)(i / channels), c = places[first + (int)(i % channels)];
        double d = x[at(t.x, image, row + pixel / width, column + pixel % width) + c] - mean;
        squares += d * d;
    }
    float centre = (float)mean, spread = (float)(1.0 / sqrt(total(squares, room) / (double)count + (double)t.a));
    for (Long i = threadIdx.x; i < count; i += 256) {
        int pixel = (int)(i / channels), c = places[first + (int)(i % channels)];
        int r = row + pixel / width, q = column + pixel % width;
        y[at(t.y, image, r, q) + c] = (x[at(t.x, image, r, q) + c] - centre) * spread * a[c] + b[c];
    }
}

// The sum of two tensors.
KERNEL add(Task t, float *y, const float *x, const float *z, const float *, const int *) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    float v = x[at(t.x, p.image, p.row, p.column) + p.channel] + z[at(t.z, p.image, p.row, p.column) + p.channel];
    y[at(t.y, p.image, p.row, p.column) + p.channel] = rectify(v, t.relu);
}

// The channels of one tensor, from channel `part` of the output on.
KERNEL concat(Task t, float *y, const float *x, const float *, const float *, const int *places) {
    Place p;
    if (!place(t, t.places, p)) return;
    y[at(t.y, p.image, p.row, p.column) + t.part + p.channel] =
        x[at(t.x, p.image, p.row, p.column) + places[p.channel]];
}

// Numbers as they are, and rows of tables by the codes of categories. Each channel of the output has four places: the input's
// channel that it is of, where its values lie among the weights (-1: it is the number itself, -2: it is padding),
// the values of a row of its table, and the table's last row, which is also that of what is no code.
KERNEL embed(Task t, float *y, const float *x, const float *w, const float *, const int *places) {
    Place p;
    if (!place(t, t.y.channels, p)) return;
    const int *of = places + 4 * p.channel;
    float code = x[at(t.x, p.image, 0, 0) + of[0]];
    int row = code >= 0.0f ? (int)fminf(code, (float)of[3]) : of[3];
    y[at(t.y, p.image, 0, 0) + p.channel] = of[1] == -2 ? 0.0f : of[1] == -1 ? code : w[of[1] + (Long)row * of[2]];
}

// The outputs without padding, pixel by pixel. `t.y` is the grid of `x` here.
KERNEL gather(Task t, float *y, const float *x, const float *, const float *, const int *places) {
    Place p;
    if (!place(t, t.places, p)) return;
    Long to = ((p.image * t.y.height + p.row) * t.y.width + p.column) * t.places + p.channel;
    y[to] = x[at(t.y, p.image, p.row, p.column) + places[p.channel]];
}

#include "training.cu"
