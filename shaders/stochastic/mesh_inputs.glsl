// What stands before a fragment shader of the user's.

#include "stochastic/views.glsl"

flat in int glr_slot;

// The camera's place, homogeneous.
vec4 eye() {
    return views[pairs[pair_of(glr_slot)].view].eye;
}
