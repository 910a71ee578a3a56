// The kernels as functions for the CPU: see emulate.h.
#include "emulate.h"
#include "kernels.cu"

struct Arguments {
    const Task *task;
    void **pointers;
};

template <typename Y, typename X, typename A, typename B, typename P>
static void call(void (*kernel)(Task, Y, X, A, B, P), Arguments *a) {
    void **p = a->pointers;
    kernel(*a->task, (Y)p[0], (X)p[1], (A)p[2], (B)p[3], (P)p[4]);
}

#define ENTRY(name, barriers)                                                                                              \
    extern "C" void emulated_##name(const unsigned *grid, const unsigned *block, const Task *task, void **pointers) {     \
        Arguments arguments = {task, pointers};                                                                            \
        run(grid, block, barriers, [](void *a) { call(name, (Arguments *)a); }, &arguments);                               \
    }

ENTRY(input, false)
ENTRY(conv, true)
ENTRY(depthwise, false)
ENTRY(pool, false)
ENTRY(flatten, false)
ENTRY(copy, false)
ENTRY(activation, false)
ENTRY(softmax, false)
ENTRY(scale, false)
ENTRY(group_norm, true)
ENTRY(add, false)
ENTRY(concat, false)
ENTRY(embed, false)
ENTRY(gather, false)
ENTRY(images, false)
ENTRY(dropout, false)
ENTRY(dropout_grad, false)
ENTRY(scatter, false)
ENTRY(conv_grad, true)
ENTRY(conv_weights, true)
ENTRY(depthwise_grad, false)
ENTRY(depthwise_weights, true)
ENTRY(collect, false)
ENTRY(channel_sums, true)
ENTRY(settle, false)
ENTRY(measure, false)
ENTRY(differentiate, false)
ENTRY(scale_grad, false)
ENTRY(pool_grad, false)
ENTRY(flatten_grad, false)
ENTRY(copy_grad, false)
ENTRY(activation_grad, false)
ENTRY(softmax_grad, false)
ENTRY(norm_moments, true)
ENTRY(group_norm_grad, true)
ENTRY(concat_grad, false)
ENTRY(embed_weights, false)
ENTRY(squares, true)
ENTRY(clip, true)
ENTRY(shrink, false)
ENTRY(sgd, false)
ENTRY(adam, false)
