#include "NexusNpc.h"

#include "Dom/JsonObject.h"
#include "Engine/GameInstance.h"
#include "IWebSocket.h"
#include "Serialization/JsonReader.h"
#include "Serialization/JsonSerializer.h"
#include "TimerManager.h"
#include "WebSocketsModule.h"

namespace
{
	constexpr float RetrySeconds = 2.0f;

	/** A JSON string. */
	FString Quoted(const FString& Text)
	{
		FString Json = TEXT("\"");
		for (const TCHAR C : Text)
		{
			if (C == '"' || C == '\\') { Json += '\\'; Json += C; }
			else if (C < 0x20) { Json += FString::Printf(TEXT("\\u%04x"), static_cast<int32>(C)); }
			else { Json += C; }
		}
		return Json + TEXT("\"");
	}
}

void UNexusNpc::Connect(const FString& InUrl, const FString& InKey)
{
	Url = InUrl;
	Key = InKey;
	Dial();
}

void UNexusNpc::Dial()
{
	Socket = FModuleManager::LoadModuleChecked<FWebSocketsModule>("WebSockets").CreateWebSocket(Url);
	Socket->OnConnected().AddWeakLambda(this, [this] {
		Socket->Send(FString::Printf(TEXT("{\"type\":\"hello\",\"protocol\":\"npc\",\"client\":\"unreal\",\"key\":%s}"), *Quoted(Key)));
	});
	Socket->OnMessage().AddWeakLambda(this, [this](const FString& Json) { Receive(Json); });
	Socket->OnConnectionError().AddWeakLambda(this, [this](const FString&) { Retry(); });
	Socket->OnClosed().AddWeakLambda(this, [this](int32, const FString&, bool) { Retry(); });
	Socket->Connect();
}

void UNexusNpc::Retry()
{
	if (!Url.IsEmpty() && GetGameInstance())
	{
		GetGameInstance()->GetTimerManager().SetTimer(Timer, this, &UNexusNpc::Dial, RetrySeconds, false);
	}
}

void UNexusNpc::Deinitialize()
{
	Url.Empty();
	if (Socket) { Socket->Close(); }
	Super::Deinitialize();
}

void UNexusNpc::Send(const TCHAR* Type, const FString& Npc, const FString& Fields)
{
	if (Socket && Socket->IsConnected())
	{
		Socket->Send(FString::Printf(TEXT("{\"type\":\"%s\",\"npc\":%s%s}"), Type, *Quoted(Npc), *Fields));
	}
}

void UNexusNpc::Open(const FString& Npc, const FString& Persona, const FString& ActionsJson, const FString& Session)
{
	FString Fields = TEXT(",\"persona\":") + Quoted(Persona);
	if (!ActionsJson.IsEmpty()) { Fields += TEXT(",\"actions\":") + ActionsJson; }
	if (!Session.IsEmpty()) { Fields += TEXT(",\"session\":") + Quoted(Session); }
	Revs.Remove(Npc);
	Send(TEXT("npc.open"), Npc, Fields);
}

void UNexusNpc::SetState(const FString& Npc, const FString& SetJson)
{
	Send(TEXT("state"), Npc, FString::Printf(TEXT(",\"rev\":%d,\"set\":%s"), ++Revs.FindOrAdd(Npc), *SetJson));
}

void UNexusNpc::Say(const FString& Npc, const FString& Text, const FString& Id)
{
	Send(TEXT("say"), Npc, TEXT(",\"text\":") + Quoted(Text) + (Id.IsEmpty() ? FString() : TEXT(",\"id\":") + Quoted(Id)));
}

void UNexusNpc::Interrupt(const FString& Npc) { Send(TEXT("interrupt"), Npc, FString()); }

void UNexusNpc::FinishAction(const FString& Npc, const FString& Call, const FString& Output, bool bOk)
{
	Send(TEXT("action.result"), Npc, FString::Printf(TEXT(",\"call\":%s,\"ok\":%s,\"output\":%s"), *Quoted(Call), bOk ? TEXT("true") : TEXT("false"), *Quoted(Output)));
}

void UNexusNpc::Export(const FString& Npc) { Send(TEXT("session.export"), Npc, FString()); }

void UNexusNpc::Import(const FString& Npc, const FString& Token)
{
	Revs.Remove(Npc);
	Send(TEXT("session.import"), Npc, TEXT(",\"token\":") + Quoted(Token));
}

void UNexusNpc::Receive(const FString& Json)
{
	TSharedPtr<FJsonObject> Frame;
	if (!FJsonSerializer::Deserialize(TJsonReaderFactory<>::Create(Json), Frame) || !Frame) { return; }
	const auto Text = [&Frame](const TCHAR* Name) { FString Value; Frame->TryGetStringField(Name, Value); return Value; };
	const auto Number = [&Frame](const TCHAR* Name) { int32 Value = 0; Frame->TryGetNumberField(Name, Value); return Value; };
	const FString Type = Text(TEXT("type")), Npc = Text(TEXT("npc")), Say = Text(TEXT("say"));
	if (Type == TEXT("ping")) { Socket->Send(TEXT("{\"type\":\"pong\"}")); }
	else if (Type == TEXT("welcome")) { OnConnected.Broadcast(); }
	else if (Type == TEXT("npc.opened")) { OnOpened.Broadcast(Npc, Text(TEXT("session")), Number(TEXT("turns"))); }
	else if (Type == TEXT("delta"))
	{
		Said.FindOrAdd(Say).Add(Text(TEXT("text")));
		OnDelta.Broadcast(Npc, Say, Text(TEXT("text")));
	}
	else if (Type == TEXT("reset"))
	{
		TArray<FString>& Parts = Said.FindOrAdd(Say);
		Parts.SetNum(FMath::Min(Parts.Num(), Number(TEXT("keep"))));
		OnReset.Broadcast(Npc, Say, FString::Join(Parts, TEXT("")));
	}
	else if (Type == TEXT("action"))
	{
		const TSharedPtr<FJsonObject>* Args = nullptr;
		FString ArgsJson = TEXT("{}");
		if (Frame->TryGetObjectField(TEXT("args"), Args))
		{
			ArgsJson.Empty();
			FJsonSerializer::Serialize(Args->ToSharedRef(), TJsonWriterFactory<>::Create(&ArgsJson));
		}
		OnAction.Broadcast(Npc, Text(TEXT("call")), Text(TEXT("name")), ArgsJson);
	}
	else if (Type == TEXT("filler")) { OnFiller.Broadcast(Npc, Say, Text(TEXT("text"))); }
	else if (Type == TEXT("done"))
	{
		TArray<FString> Parts;
		Said.RemoveAndCopyValue(Say, Parts);
		OnDone.Broadcast(Npc, Say, Text(TEXT("status")), Frame->HasField(TEXT("text")) ? Text(TEXT("text")) : FString::Join(Parts, TEXT("")));
	}
	else if (Type == TEXT("session.exported")) { OnExported.Broadcast(Npc, Text(TEXT("token"))); }
	else if (Type == TEXT("error")) { OnFailed.Broadcast(Text(TEXT("code")), Text(TEXT("message"))); }
}
