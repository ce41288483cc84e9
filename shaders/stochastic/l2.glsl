// The sum of squared differences.

float pixel_loss(vec4 color, vec4 target) {
    vec4 error = color - target;
    return dot(error, error);
}
