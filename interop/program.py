"""A GLSL program from the package's shader files."""

from glraster.shaders import load_shader

from .egl import OpenGLError
from .gl import GL

__all__ = ["Program"]

_STAGES = {"vert": GL.GL_VERTEX_SHADER, "frag": GL.GL_FRAGMENT_SHADER}


class Program:
    """The linked shaders of `files`; an OpenGL context must be current.

    Raises:
        OpenGLError: the driver rejects one of them; with the compiler's log.
    """

    def __init__(self, *files: str):
        self._object = GL.glCreateProgram()
        for file in files:
            shader = GL.glCreateShader(_STAGES[file.rsplit(".", 1)[1]])
            GL.glShaderSource(shader, load_shader(file))
            GL.glCompileShader(shader)
            if not GL.glGetShaderiv(shader, GL.GL_COMPILE_STATUS):
                raise OpenGLError(f"the OpenGL driver rejects {file}: {_text(GL.glGetShaderInfoLog(shader))}")
            GL.glAttachShader(self._object, shader)
            GL.glDeleteShader(shader)  # when the program goes
        GL.glLinkProgram(self._object)
        if not GL.glGetProgramiv(self._object, GL.GL_LINK_STATUS):
            log = _text(GL.glGetProgramInfoLog(self._object))
            raise OpenGLError(f"the OpenGL driver cannot link {' and '.join(files)}: {log}")

    def use(self) -> None:
        GL.glUseProgram(self._object)

    def set_vec4(self, name: str, *values: float) -> None:
        """Sets a uniform of the program, which must be in use."""
        GL.glUniform4f(GL.glGetUniformLocation(self._object, name), *values)


def _text(log: bytes | str) -> str:
    return (log.decode(errors="replace") if isinstance(log, bytes) else log).strip()
