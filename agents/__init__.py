"""What coding agents call: an MCP server at /mcp (docs/adr/0043-an-mcp-server.md)."""
