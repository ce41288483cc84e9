// What went wrong, and in which step first. While anything is wrong no parameter changes.

const uint NOT_FINITE = 1u, OVERFLOW = 2u;

layout(std430) coherent buffer Status {
    uint failures;
    uint first_step;
};
uniform uint step_number;

void fail(uint what) {
    atomicOr(failures, what);
    atomicMin(first_step, step_number);
}
