#version 430
// A colour for each direction that a triangle faces, and coverage in alpha.

in vec3 position;
out vec4 color;

void main() {
    vec3 normal = normalize(cross(dFdx(position), dFdy(position)));
    color = vec4(0.5 + 0.4 * normal, 1.0);
}
