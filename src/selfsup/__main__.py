"""`python -m selfsup` is the command `selfsup`; `torchrun -m selfsup` starts it in several processes."""

from selfsup.cli import main

if __name__ == "__main__":
    main()
