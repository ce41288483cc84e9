#version 430
// Cel shading: three flat colours, with hard thresholds between them. It has no useful derivative.

in vec3 normal;
out vec4 color;

vec3 light();   // the parameters that the optimizer finds
vec2 levels();
vec3 shadow();
vec3 middle();
vec3 lit();

void main() {
    float brightness = dot(normalize(normal), normalize(light()));
    vec2 level = levels();
    color = vec4(brightness < level.x ? shadow() : brightness < level.y ? middle() : lit(), 1.0);
}
