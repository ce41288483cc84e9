// The voxels that a ray visits: Amanatides and Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing" (1987).

#include "stochastic/views.glsl"

uniform ivec3 voxels;     // along x, y, z
uniform vec3 low, high;   // the volume's box

struct March {
    ivec3 voxel, turn;
    vec3 next, step_length;  // distances along the ray
    float at, end;
};

// Whether the ray of a place in normalised device coordinates meets the box.
bool begin(int view, vec2 place, out March march) {
    vec4 near = views[view].from_clip * vec4(place, -1.0, 1.0), far = views[view].from_clip * vec4(place, 1.0, 1.0);
    vec3 origin = near.xyz / near.w;
    vec3 direction = normalize(far.xyz / far.w - origin);
    direction = mix(direction, vec3(1e-7), lessThan(abs(direction), vec3(1e-7)));
    vec3 to_low = (low - origin) / direction, to_high = (high - origin) / direction;
    vec3 first = min(to_low, to_high), last = max(to_low, to_high);
    march.at = max(max(first.x, first.y), max(first.z, 0.0));
    march.end = min(last.x, min(last.y, last.z));
    vec3 scale = vec3(voxels) / (high - low);
    vec3 entry = (origin + march.at * direction - low) * scale;
    march.voxel = clamp(ivec3(floor(entry)), ivec3(0), voxels - 1);
    march.turn = ivec3(sign(direction));
    march.step_length = abs(1.0 / (direction * scale));
    vec3 border = vec3(march.voxel) + max(sign(direction), 0.0);
    march.next = (border / scale + low - origin) / direction;
    return march.at < march.end;
}

int row_of(ivec3 voxel) {
    return (voxel.z * voxels.y + voxel.y) * voxels.x + voxel.x;
}

// Moves on to the next voxel; returns the length of the ray in the one that it leaves.
float advance(inout March march) {
    float before = march.at;
    if (march.next.x <= march.next.y && march.next.x <= march.next.z) {
        march.at = march.next.x;
        march.next.x += march.step_length.x;
        march.voxel.x += march.turn.x;
    } else if (march.next.y <= march.next.z) {
        march.at = march.next.y;
        march.next.y += march.step_length.y;
        march.voxel.y += march.turn.y;
    } else {
        march.at = march.next.z;
        march.next.z += march.step_length.z;
        march.voxel.z += march.turn.z;
    }
    float length = max(min(march.at, march.end) - before, 0.0);
    if (any(lessThan(march.voxel, ivec3(0))) || any(greaterThanEqual(march.voxel, voxels))) march.at = march.end;
    return length;
}
