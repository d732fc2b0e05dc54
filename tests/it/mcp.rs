//! /mcp
