#version 430
// A splat's colour, multiplied with its opacity.

in vec2 offset;
flat in vec3 conic;
flat in vec4 tint;
layout(location = 0) out vec4 color;

void main() {
    float distance2 = conic.x * offset.x * offset.x + 2.0 * conic.y * offset.x * offset.y + conic.z * offset.y * offset.y;
    if (distance2 > 9.0) discard;
    float alpha = tint.a * exp(-0.5 * distance2);
    color = vec4(tint.rgb * alpha, alpha);
}
