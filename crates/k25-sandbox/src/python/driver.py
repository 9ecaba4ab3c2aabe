# Runs main.py as a notebook cell: the value of a last expression is shown, and tracebacks begin in
# the user's own lines.
#
# Only what is built in is imported before that: it is most of the time that a short script takes.
import _ast
import sys

ONLY_AST = 0x400
PATH = __file__.rsplit("/", 1)[0] + "/main.py"
NAME = "main.py"


def main():
    sys.path.pop(0)
    with open(PATH, encoding="utf-8") as file:
        source = file.read()
    scope = {"__name__": "__main__", "__builtins__": __builtins__, "__file__": NAME}
    try:
        tree = compile(source, NAME, "exec", ONLY_AST)
        last = None
        if tree.body and isinstance(tree.body[-1], _ast.Expr):
            last = _ast.Expression(tree.body.pop().value)
        exec(compile(tree, NAME, "exec"), scope)
        if last is not None:
            value = eval(compile(last, NAME, "eval"), scope)
            if value is not None:
                print(repr(value) if not isinstance(value, str) else value)
    except SystemExit:
        raise
    except BaseException as error:
        import linecache
        import traceback

        linecache.cache[NAME] = (len(source), None, source.splitlines(True), NAME)
        # The frames of this file say nothing to the author of that one.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        sys.stdout.flush()
        traceback.print_exception(type(error), error, frames)
        sys.stdout.flush()
        sys.exit(1)


main()
