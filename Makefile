# Shorthands for those who work on ssh2container. Nothing here is needed to install it: that is ./install.sh.
.PHONY: help unit native format check-format docs sanitize

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

unit: ## the unit suite: house rules, linters, pure tests; without root, what needs it is skipped
	./tests/run unit

native: ## the C module that tests of this checkout import
	./tests/build-module

format: ## put Python and C into their form
	tests/tool ruff format --quiet .
	tests/tool ruff check --quiet --fix .
	git ls-files '*.c' '*.h' | xargs tests/tool clang-format -i

check-format: ## say what is not in its form
	tests/tool ruff format --quiet --check .
	git ls-files '*.c' '*.h' | xargs tests/tool clang-format --dry-run --Werror

docs: native ## the documents that are made from the code
	tests/tool python docs/make.py

sanitize: ## the tests of what is written in C, under AddressSanitizer and UndefinedBehaviorSanitizer
	./tests/run tests/unit/test_sanitizers.py
