// The sum of absolute differences.

float pixel_loss(vec4 color, vec4 target) {
    vec4 error = abs(color - target);
    return error.x + error.y + error.z + error.w;
}
