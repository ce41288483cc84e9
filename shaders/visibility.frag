#version 430
// The id of the nearest triangle, and nothing else.

flat in int first_id;

layout(location = 0) out int id;

void main() {
    id = first_id + gl_PrimitiveID;
}
