#version 430
// A lit surface with textures of colour, roughness and normals: a light at the camera, Blinn-Phong highlights.

in vec3 position;
in vec2 uv;
out vec4 color;

vec4 eye();
vec3 albedo(vec2 uv);
float roughness(vec2 uv);
vec2 bumps(vec2 uv);  // the normal's part along the surface

void main() {
    vec3 along_x = dFdx(position), along_y = dFdy(position);
    vec3 face = normalize(cross(along_x, along_y));
    vec2 uv_x = dFdx(uv), uv_y = dFdy(uv);
    vec3 tangent = normalize(along_x * uv_y.y - along_y * uv_x.y);
    tangent = normalize(tangent - face * dot(face, tangent));
    vec2 bump = bumps(uv);
    vec3 normal = normalize(face + bump.x * tangent + bump.y * cross(face, tangent));
    vec3 to_eye = normalize(eye().xyz - position);
    float facing = max(dot(normal, normalize(to_eye + vec3(0.3, 0.4, 0.0))), 0.0);
    float sharpness = 2.0 / max(pow(clamp(roughness(uv), 0.05, 1.0), 4.0), 1e-4);
    float highlight = 0.3 * pow(facing, min(sharpness, 400.0));
    color = vec4(albedo(uv) * (0.15 + 0.85 * facing) + highlight, 1.0);
}
