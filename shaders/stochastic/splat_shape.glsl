// How far a splat is drawn, and where in it a pixel is.

const float REACH = 3.5;  // standard deviations; its opacity there, 1/450 of the centre's, falls to zero in a step

// Squared distance from the centre in standard deviations, at an offset in pixels; conic: the inverse covariance.
float squared_distance(vec3 conic, vec2 offset) {
    return conic.x * offset.x * offset.x + 2.0 * conic.y * offset.x * offset.y + conic.z * offset.y * offset.y;
}

bool inside(vec3 conic, vec2 offset) {
    return squared_distance(conic, offset) <= REACH * REACH;
}
