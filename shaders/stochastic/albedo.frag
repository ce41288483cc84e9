#version 430
// The texture `albedo`, unlit.

in vec2 uv;
out vec4 color;

vec3 albedo(vec2 uv);

void main() {
    color = vec4(albedo(uv), 1.0);
}
