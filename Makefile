# Every target is one line over tools/dev.py, which needs no make: python tools/dev.py test
PYTHON ?= python3
TARGETS = demo test test-all check notebooks readme wheel soak mutants

all: check test
.PHONY: all $(TARGETS)
$(TARGETS):
	@$(PYTHON) tools/dev.py $@ $(ARGS)
