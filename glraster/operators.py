"""Operators: functions of tensors as PyTorch knows them, with their derivatives.

Each is called in one of two ways, which run the same implementation:
- as a `torch.autograd.Function`: the least overhead, and what the transforms of `torch.func` work with;
- as a registered operator, `torch.ops.glraster.*`, wherever PyTorch traces: `torch.compile`, `torch.export`,
  `make_fx`, fake tensors.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import is_grad_enabled
from torch._C import _any_requires_grad, _are_functorch_transforms_active, _len_torch_dispatch_stack
from torch._C._functorch import unwrap_if_dead
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from glraster.cuda_kernels.launcher import new_output_like

__all__ = ["Operator", "new_gradients", "save"]

_NO_TENSORS = {type(None), bool, int, float, str, list, tuple}
# What arguments mostly are: none of these has an implementation of operators of its own, as fake tensors do.
_PLAIN = _NO_TENSORS | {torch.Tensor, torch.nn.Parameter}
_library = torch.library.Library("glraster", "DEF")


class Operator:
    """A function of tensors, registered as `torch.ops.glraster.NAME`.

    Args:
        schema: its signature in PyTorch's schema language, "name(Tensor a, Tensor? b, int k) -> (Tensor, Tensor)". A
            list of tensors must be the last argument. All outputs are new tensors. With an argument `bool[] wanted`,
            one for each output, those that are not wanted are None.
        forward: the implementation, of tensors without gradients.
        fake: the same for tensors without data: returns outputs of the right shapes.
        setup: `setup(ctx, inputs, output)` saves in `ctx` what the derivatives need: tensors with `save`, all else as
            attributes.
        backward: `backward(ctx, needs, *grads)` returns the gradient of each argument, None where there is none;
            `needs` tells for each whether it is wanted, `grads` are None where nothing came. Without it,
            differentiating is an error that says so: second derivatives are not silently zero.
        jvp: `jvp(ctx, *tangents)` returns the tangent of each output; tangents are None where there is none.
        shares_memory: whether the implementation returns its first argument, detached. Where outputs must be new, in
            programs that PyTorch traces and in forward mode, that is copied.
    """

    def __init__(
        self,
        schema: str,
        forward: Callable,
        fake: Callable,
        *,
        setup: Callable | None = None,
        backward: Callable | None = None,
        jvp: Callable | None = None,
        shares_memory: bool = False,
    ):
        self.name = schema.split("(")[0]
        _library.define(schema)
        self._wanted = (
            schema[: schema.rindex(") ->")].split(", ").index("bool[] wanted") if "wanted" in schema else None
        )
        full = forward if self._wanted is None else functools.partial(_filled, forward)
        anew = functools.partial(_copied, full) if shares_memory else full
        _library.impl(self.name, anew, "CompositeExplicitAutograd")
        self.op = getattr(torch.ops.glraster, self.name).default
        fake = fake if self._wanted is None else functools.partial(_filled, fake)
        torch.library.register_fake(self.op, fake, lib=_library)
        arguments = self.op._schema.arguments
        self._forward, self._full, self._backward, self._jvp = forward, full, backward, jvp
        self._listed = str(arguments[-1].type) == "List[Tensor]"
        self._returns_list = str(self.op._schema.returns[0].type) == "List[Tensor]"
        self._num_arguments = len(arguments)
        if setup is not None or backward is not None:
            nested = self._backward_of_op if backward else self._refuse
            torch.library.register_autograd(self.op, nested, setup_context=setup or _save_nothing, lib=_library)
        torch.library.register_vmap(self.op, self._vmap_of_op, lib=_library)
        flat = self._listed or self._returns_list
        members = {"forward": self._forward_flat if flat else full, "setup_context": setup or _save_nothing}
        if self._listed and setup is not None:
            members["setup_context"] = lambda ctx, inputs, output: setup(ctx, self._nest(inputs), output)
        if shares_memory:
            members["forward"] = lambda *args: (full if forward_ad._current_level < 0 else anew)(*args)
        members |= {"backward": self._backward_flat, "jvp": self._jvp_flat, "vmap": self._vmap_flat}
        name = "".join(map(str.title, self.name.split("_")))  # what grad_fn is called
        functions = {k: staticmethod(f) for k, f in members.items()}
        self._function: type[torch.autograd.Function] = type(name, (torch.autograd.Function,), functions)
        in_cpp: Any = super(torch.autograd.Function, self._function)  # the part that takes no notice of transforms
        self._apply_with_tangents, self._apply = in_cpp.apply, self._quick_apply(name, functions)

    def __call__(self, *args):
        if is_compiling() or _len_torch_dispatch_stack():
            return self._strip(self.op(*args), args)
        flat = (*args[:-1], *args[-1]) if self._listed else args
        if not _PLAIN.issuperset(map(type, flat)) and any(map(_dispatches, flat)):
            return self._strip(self.op(*args), args)
        if _are_functorch_transforms_active():
            return self._strip(self._function.apply(*flat), args)
        forward_mode = forward_ad._current_level >= 0
        if forward_mode or is_grad_enabled():
            # As Function.apply does, with what a transform of torch.func that has ended leaves behind.
            flat = [arg if type(arg) in _NO_TENSORS else _unwrapped(arg) for arg in flat]
            if forward_mode:
                return self._strip(self._apply_with_tangents(*flat), args)
            if _any_requires_grad(*flat):
                return self._strip(self._apply(*flat), args)
        return self._forward(*self._nest(flat)) if self._listed else self._forward(*flat)

    def _quick_apply(self, name: str, functions: dict[str, Any]) -> Callable:
        """As `Function.apply` without transforms and tangents, in a third of the time.

        That is the part of it in C++. The other binds arguments to the names of forward's, which takes longer than all
        that a small kernel does; and a `setup_context` of its own is one more call from C++.
        """
        forward, setup = functions["forward"].__func__, functions["setup_context"].__func__

        def both(ctx, *flat):
            output = forward(*flat)
            setup(ctx, flat, output)
            return output

        members = {"forward": staticmethod(both), "backward": functions["backward"]}
        in_cpp: Any = super(torch.autograd.Function, type(name, (torch.autograd.Function,), members))
        return in_cpp.apply

    def _strip(self, outputs, args):
        """None in place of the outputs that are not wanted; the implementation itself returns them so."""
        if self._wanted is None:
            return outputs
        return [out if want else None for out, want in zip(outputs, args[self._wanted], strict=True)]

    def _nest(self, flat: Sequence) -> tuple:
        """Arguments as the schema has them, from those of the Function, which takes no lists."""
        last = self._num_arguments - 1
        return (*flat[:last], list(flat[last:])) if self._listed else tuple(flat)

    def _forward_flat(self, *flat):
        result = self._full(*self._nest(flat))
        return tuple(result) if self._returns_list else result

    def _backward_flat(self, ctx, *grads):
        if self._backward is None:
            self._refuse(ctx)
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        result = self._backward(ctx, self._nest(ctx.needs_input_grad), *grads)
        return (*result[:-1], *result[-1]) if self._listed else result

    def _backward_of_op(self, ctx, *grads):
        if all(grad is None for grad in grads):
            return (None,) * self._num_arguments
        return self._backward(ctx, ctx.needs_input_grad, *grads)

    def _jvp_flat(self, ctx, *tangents):
        if self._jvp is None:
            self._refuse(ctx)
        return self._jvp(ctx, *self._nest(tangents))

    def _refuse(self, ctx, *_):
        first = self.name.rsplit("_", 1)[0] if self.name.endswith(("_bwd", "_jvp")) else None
        if first:
            raise RuntimeError(f"glraster cannot differentiate twice: {first}() has no second derivatives")
        raise RuntimeError(f"glraster: {self.name}() has no derivative of this kind")

    def _vmap_flat(self, info, in_dims, *flat):
        return self._vmap_of_op(info, self._nest(in_dims), *self._nest(flat))

    def _vmap_of_op(self, info, in_dims, *args):
        """Batched arguments, one call for each element of the batch: each is a whole image or minibatch of its own."""

        def element(arg, dim, i):
            if isinstance(arg, (list, tuple)) and isinstance(dim, (list, tuple)):
                return [element(a, d, i) for a, d in zip(arg, dim, strict=True)]
            return arg.select(dim, i) if isinstance(arg, torch.Tensor) and dim is not None else arg

        each = [[element(arg, dim, i) for arg, dim in zip(args, in_dims, strict=True)] for i in range(info.batch_size)]
        if len(self.op._schema.returns) == 1 and not self._returns_list:
            return torch.stack([self(*elements) for elements in each]), 0
        parts = [_filled(self, *elements) for elements in each]
        outputs = [torch.stack(output) for output in zip(*parts, strict=True)]
        return (outputs, [0] * len(outputs)) if self._returns_list else (tuple(outputs), (0,) * len(outputs))


def _unwrapped(arg: object) -> object:
    return unwrap_if_dead(arg) if isinstance(arg, torch.Tensor) else arg


def _dispatches(arg: object) -> bool:
    """Whether it is a tensor of a class with an implementation of operators of its own."""
    return isinstance(arg, torch.Tensor) and type(arg).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


def save(ctx, *tensors: torch.Tensor | None) -> None:
    """Saves tensors for `backward` and, where it may be called, for `jvp`: `ctx.saved_tensors`."""
    ctx.save_for_backward(*tensors)
    if forward_ad._current_level >= 0 or _are_functorch_transforms_active():
        ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


def _save_nothing(ctx, inputs, output) -> None:
    save(ctx)


def _copied(function: Callable, *args):
    """Calls it, and copies the output."""
    return function(*args).clone()


def _filled(function: Callable, *args):
    """Calls it, with empty tensors in place of outputs that are None: what PyTorch registers returns tensors alone."""
    outputs = function(*args)
    empty = next(arg for arg in args if isinstance(arg, torch.Tensor)).new_empty
    return type(outputs)(empty(0) if out is None else out for out in outputs)


def new_gradients(tensors: Sequence[torch.Tensor | None], wanted: Sequence[bool]) -> tuple[torch.Tensor | None, ...]:
    """Uninitialized gradients of those `tensors` for which they are wanted, else None."""
    pairs: Iterable[tuple[Any, bool]] = zip(tensors, wanted, strict=True)  # None is never wanted
    return tuple(new_output_like(tensor) if want else None for tensor, want in pairs)
