"""A bot on aiogram that does one of everything: aiogram_bot.py URL TOKEN [PORT SECRET].

With a port and a secret it takes its updates by webhook, else by long polling. What it is told to do
wrong, it reports in the chat.
"""

import asyncio
import sys

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter
from aiogram.filters import Command
from aiogram.types import BotCommand, BufferedInputFile, CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.utils.formatting import (
    BlockQuote,
    Bold,
    Code,
    DateTime,
    ExpandableBlockQuote,
    Italic,
    Spoiler,
    Strikethrough,
    Text,
    TextLink,
    Underline,
)
from aiogram.webhook.aiohttp_server import SimpleRequestHandler, setup_application
from aiohttp import web

dispatcher = Dispatcher()
KEYBOARD = InlineKeyboardMarkup(
    inline_keyboard=[[InlineKeyboardButton(text="Yes", callback_data="yes"), InlineKeyboardButton(text="Docs", url="https://example.org")]]
)


@dispatcher.message(Command("start"))
async def start(message: Message) -> None:
    text = Text("Hello ", Bold("bold"), " ", Code("code"), " 👍 ", TextLink("link", url="https://example.org/a"))
    await message.answer(**text.as_kwargs(), reply_markup=KEYBOARD)


@dispatcher.message(Command("styles"))
async def styles(message: Message) -> None:
    """The same text three times: with entities, as MarkdownV2 and as HTML.

    Left out is what aiogram 3.31 itself writes in different ways: in Markdown a ")" in an address is not
    escaped, an emoji has the wrong parameter and code gets a line more; in HTML its language is lost.
    """
    text = Text(
        "_*[]()~`>#+-=|{}.!\\ & <b> 👩‍👩‍👧 ",
        Bold("b. ", Italic("i_ ", Underline("u"), Strikethrough("~s")), " 漢字"),
        Spoiler("|s|"),
        Code("c`\\ <i>"),
        " ",
        TextLink("l](", url="https://example.org/a_b?c=1&d=2"),
        DateTime("noon", unix_time=1_600_000_000, date_time_format="wDT"),
        "\n",
        BlockQuote("one.\n", Bold("two!")),
        "\nbetween\n",
        ExpandableBlockQuote("three\nfour"),
        "\nend",
    )
    await message.answer(**text.as_kwargs())
    await message.answer(text.as_markdown(), parse_mode="MarkdownV2")
    await message.answer(text.as_html(), parse_mode="HTML")


@dispatcher.callback_query(F.data == "yes")
async def pressed(query: CallbackQuery) -> None:
    await query.answer("Noted")
    await query.message.edit_text("You said <b>yes</b>", parse_mode="HTML")


@dispatcher.message(Command("stream"))
async def stream(message: Message) -> None:
    await message.bot.send_chat_action(message.chat.id, "typing")
    answer = await message.reply("…")
    for text in ["one", "one two", "one two three"]:
        await answer.edit_text(text)


@dispatcher.message(Command("draft"))
async def draft(message: Message) -> None:
    await message.bot.send_message_draft(message.chat.id, 7)
    await message.bot.send_message_draft(message.chat.id, 7, text="half", can_stop=True)
    await message.answer("half and whole")


@dispatcher.message(Command("delete"))
async def delete(message: Message) -> None:
    answer = await message.answer("soon gone")
    await answer.delete()


@dispatcher.message(Command("setup"))
async def setup(message: Message) -> None:
    await message.bot.set_my_commands([BotCommand(command="start", description="Begin")])
    commands = await message.bot.get_my_commands()
    chat = await message.bot.get_chat(message.chat.id)
    member = await message.bot.get_chat_member(message.chat.id, message.from_user.id)
    await message.answer(f"{commands[0].command} {chat.type} {member.status}")


@dispatcher.message(Command("wrong"))
async def wrong(message: Message) -> None:
    """Breaks the rule that is named and says what the client makes of it."""
    try:
        match message.text.split()[1]:
            case "markdown":
                await message.answer("1. unescaped", parse_mode="MarkdownV2")
            case "same":
                answer = await message.answer("same")
                await answer.edit_text("same")
            case _:
                await message.answer("sent")
    except TelegramRetryAfter as error:
        await message.answer(f"wait {error.retry_after}")
    except TelegramBadRequest as error:
        await message.answer(f"refused: {error.message}")
    except TelegramForbiddenError as error:
        print(error, file=sys.stderr)


@dispatcher.message(F.document)
async def document(message: Message) -> None:
    content = (await message.bot.download(message.document)).read()
    file = BufferedInputFile(content.upper(), filename="upper.txt")
    sent = await message.answer_document(file, caption="_twice_", parse_mode="MarkdownV2")
    await message.answer_document(sent.document.file_id)


@dispatcher.message(F.photo)
async def photo(message: Message) -> None:
    content = (await message.bot.download(message.photo[-1])).read()
    await message.answer_photo(BufferedInputFile(content, filename="same.png"), caption=f"{len(content)} bytes")


@dispatcher.message(F.voice)
async def voice(message: Message) -> None:
    content = (await message.bot.download(message.voice)).read()
    await message.answer_voice(BufferedInputFile(content, filename="echo.ogg"), duration=3)


@dispatcher.edited_message()
async def edited(message: Message) -> None:
    await message.answer(f"changed to {message.text}")


@dispatcher.message(F.message_thread_id)
async def topic(message: Message) -> None:
    await message.answer(f"in topic {message.message_thread_id}")


async def main(url: str, token: str, port: str | None = None, secret: str | None = None) -> None:
    bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(url)))
    if port is None:
        await dispatcher.start_polling(bot, handle_signals=False)
        return
    app = web.Application()
    SimpleRequestHandler(dispatcher, bot, handle_in_background=False, secret_token=secret).register(app, path="/hook")
    setup_application(app, dispatcher, bot=bot)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await bot.set_webhook(f"http://127.0.0.1:{port}/hook", secret_token=secret, allowed_updates=dispatcher.resolve_used_update_types())
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
