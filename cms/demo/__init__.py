"""Sample content of `load_demo_content`: plain data, one module a language, every page marked 示例."""
